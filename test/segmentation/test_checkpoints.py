from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models import resnet50
from torchvision.models.vgg import cfgs, make_layers

from offline_training.data.camvid import CamVid
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import (
    StorageError,
    read_checkpoint,
    write_checkpoint,
    write_tensors,
)
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import network_image
from offline_training.pipeline.stages import backbone as backbone_stage
from offline_training.segmentation.backbones import build_backbone
from offline_training.segmentation.backbones.checkpoints import (
    load_checkpoint,
    load_initial_weights,
)
from offline_training.segmentation.backbones.public_torchvision import from_public
from offline_training.segmentation.config import BackboneConfig
from offline_training.watched.normalization import InputConfig, Normalize
from offline_training.watched.prediction import predict_labels

SHARED = Path(os.environ.get('OOD_SHARED', Path(__file__).parents[3] / 'shared'))
ESPNET = 'espnet_p_2_q_8_camvid.pth'
CITYSCAPES = 'espnet_p_2_q_8_cityscapes.pth'
ENET = 'enet_camvid_921e40c.pth'
CAMVID_INPUT = InputConfig(
    480, 360, 'bgr', (110.331, 108.409, 105.034), (18391.875, 18535.44, 17825.265)
)
# (x - mean) / std / 255 with the constants of sacmehta/ESPNet for Cityscapes.
CITYSCAPES_INPUT = InputConfig(
    480, 360, 'bgr', (72.392, 82.909, 73.158), (11556.345, 11769.015, 11453.325)
)


def public(name):
    path = SHARED / 'checkpoints' / name
    if not path.is_file():
        pytest.skip(f'{path} is not there; set OOD_SHARED to the folder of checkpoints and data')
    return path


@pytest.mark.parametrize(
    ('architecture', 'classes', 'name', 'parameters'),
    [
        ('espnet', 12, ESPNET, 354_517),
        ('espnet_dropout', 12, ESPNET, 354_517),
        ('espnet_dropout_custom', 12, ESPNET, 354_517),
        ('espnet_stem', 20, CITYSCAPES, 364_569),
        ('enet_2018', 12, ENET, 359_780),
    ],
)
def test_public_checkpoints_fill_every_tensor(architecture, classes, name, parameters):
    path = public(name)
    network = build_backbone(architecture, num_classes=classes)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    load_checkpoint(network, path)
    assert sum(p.numel() for p in network.parameters()) == parameters
    same = [k for k, v in network.state_dict().items() if v.ndim > 1 and torch.equal(v, before[k])]
    assert not same


@pytest.mark.parametrize(
    ('architecture', 'name', 'input_config', 'at_least'),
    [
        ('espnet', ESPNET, CAMVID_INPUT, 0.88),
        ('espnet_dropout', ESPNET, CAMVID_INPUT, 0.88),
        ('enet_2018', ENET, InputConfig(480, 360, 'rgb', (0, 0, 0), (255, 255, 255)), 0.85),
    ],
)
def test_public_checkpoints_segment_camvid(architecture, name, input_config, at_least):
    network = build_backbone(architecture, num_classes=12)
    load_checkpoint(network, public(name))
    dataset = CamVid(SHARED / 'camvid', 'val')
    matrix = ConfusionMatrix(11)
    normalize = Normalize(input_config)
    with torch.inference_mode():
        for index in (0, 50):
            sample = dataset[index]
            image = network_image(sample.image, Config(input=input_config))
            matrix.update(sample.labels, predict_labels(network.eval(), normalize, image, 11))
    assert matrix.pixel_accuracy() > at_least


def test_public_cityscapes_checkpoint_knows_roads_and_buildings():
    path = public(CITYSCAPES)
    with pytest.raises(StorageError, match=r'decoder\.0\.weight has shape \(20, 36.*architecture'):
        load_checkpoint(build_backbone('espnet', num_classes=20), path)
    network = build_backbone('espnet_stem', num_classes=20)
    load_checkpoint(network, path)
    sample = CamVid(SHARED / 'camvid', 'val')[0]
    image = network_image(sample.image, Config(input=CITYSCAPES_INPUT))
    with torch.inference_mode():
        predicted = predict_labels(network.eval(), Normalize(CITYSCAPES_INPUT), image, 20)
    # CamVid's class, Cityscapes' train id and the least share found: another camera and country.
    for ours, theirs, at_least in ((3, 0, 0.8), (1, 2, 0.5)):
        assert (predicted[sample.labels == ours] == theirs).mean() > at_least


@pytest.mark.parametrize('batch_norm', [False, True])
def test_vgg16_fills_the_encoder_of_segnet(tmp_path, batch_norm):
    torch.manual_seed(1)
    vgg = make_layers(cfgs['D'], batch_norm).eval()
    for module in vgg.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    state = {f'features.{name}': tensor for name, tensor in vgg.state_dict().items()}
    path = tmp_path / 'vgg16.pth'
    torch.save({**state, 'classifier.6.weight': torch.ones(1)}, path)
    network = build_backbone('segnet', num_classes=3).eval()
    before = network.decoder['up5'][0].weight.clone()
    load_initial_weights(network, path)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        # An untrained normalisation divides by the root of 1 + 1e-5 only.
        torch.testing.assert_close(network.features(x)[1]['down5'], vgg(x), rtol=1e-3, atol=1e-4)
    assert torch.equal(network.decoder['up5'][0].weight, before)


def test_resnet50_fills_the_encoder_of_deeplab():
    with torch.device('meta'):
        state = resnet50(weights=None).state_dict()
        network = build_backbone('deeplabv3plus_resnet50', num_classes=3)
    filled = from_public(state, network)
    wanted = {k: v.shape for k, v in network.state_dict().items() if k.startswith('resnet.')}
    assert {k: v.shape for k, v in filled.items()} == wanted


def test_initial_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'layer1.0.conv1.weight': torch.ones(1)}, path)
    with pytest.raises(StorageError, match='does not fit ENet'):
        load_initial_weights(build_backbone('enet', num_classes=3), path)
    with pytest.raises(ConfigError, match=r'backbone\.initial_weights'):
        BackboneConfig(weights='a.pth', initial_weights='b.pth')


def test_training_starts_from_the_initial_weights(tmp_path, monkeypatch):
    torch.manual_seed(2)
    trained = build_backbone('enet', num_classes=3)
    path = tmp_path / 'start.safetensors'
    write_tensors(path, trained.state_dict())
    seen = {}

    class Stop(Exception):  # noqa: N818
        pass

    def train(context, network):
        seen.update(network.state_dict())
        raise Stop

    monkeypatch.setattr(backbone_stage, '_train', train)
    config = Config(backbone=BackboneConfig(architecture='enet', initial_weights=str(path)))
    with pytest.raises(Stop):
        backbone_stage.run(SimpleNamespace(config=config, num_outputs=3))
    assert all(torch.equal(seen[name], value) for name, value in trained.state_dict().items())


def test_our_own_weights_come_back(tmp_path):
    network = build_backbone('enet', num_classes=3)
    path = tmp_path / 'backbone.safetensors'
    write_tensors(path, network.state_dict())
    other = build_backbone('enet', num_classes=3)
    load_checkpoint(other, path)
    for key, value in other.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


@pytest.mark.parametrize(
    ('architecture', 'classes', 'reason'),
    [('espnet', 5, 'does not fit ESPNet'), ('enet', 4, 'has shape')],
)
def test_weights_of_another_network_are_refused(tmp_path, architecture, classes, reason):
    path = tmp_path / 'backbone.safetensors'
    write_tensors(path, build_backbone('enet', num_classes=3).state_dict())
    with pytest.raises(StorageError, match=reason):
        load_checkpoint(build_backbone(architecture, num_classes=classes), path)


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_a_checkpoint_may_hold_the_reached_miou_as_a_numpy_scalar(tmp_path, module):
    network = build_backbone('enet', num_classes=3)
    written, path = tmp_path / 'written', tmp_path / 'ENet'
    torch.save({'state_dict': network.state_dict(), 'miou': np.float64(0.5)}, written)
    # As the other generation of NumPy would have written it.
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            data = re.sub(rb'numpy\._?core\.multiarray', module.encode(), source.read(name))
            target.writestr(name, data)
    load_checkpoint(build_backbone('enet', num_classes=3), path)


def test_the_2021_layout_of_enet_is_named(tmp_path):
    path = tmp_path / 'ENet'
    names = ('initial_block.main_branch.weight', 'upsample4_0.main_conv.0.weight')
    torch.save({'state_dict': {name: torch.zeros(1) for name in names}}, path)
    with pytest.raises(StorageError, match=r'upsample4_0.*2018 ENet layout'):
        load_checkpoint(build_backbone('enet_2018', num_classes=3), path)


class Payload:
    def __reduce__(self):
        return (os.system, ('touch /tmp/should-never-exist-ood',))


PREFIXES = ('', 'module.', '_orig_mod.', 'net.', 'module._orig_mod.', 'net.module._orig_mod.net.')


@pytest.mark.parametrize('prefix', PREFIXES)
@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: {'state_dict': state, 'epoch': 3},
        lambda state: {'model_state_dict': state, 'optimizer_state_dict': {'lr': 0.1}},
        lambda state: {'model': state, 'args': None},
        lambda state: {'network': {'state_dict': state}},
    ],
)
def test_wrapped_and_prefixed_checkpoints_load(tmp_path, wrap, prefix):
    trained, path = build_backbone('enet', num_classes=3), tmp_path / 'weights.pth'
    torch.save(wrap({prefix + k: v for k, v in trained.state_dict().items()}), path)
    other = build_backbone('enet', num_classes=3)
    load_checkpoint(other, path)
    for key, value in other.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])


def test_prefixed_safetensors_load(tmp_path):
    trained, path = build_backbone('enet', num_classes=3), tmp_path / 'weights.safetensors'
    write_tensors(path, {f'module.{k}': v for k, v in trained.state_dict().items()})
    other = build_backbone('enet', num_classes=3)
    load_checkpoint(other, path)
    assert torch.equal(other.classifier.weight, trained.classifier.weight)


def test_a_prefix_of_some_tensors_only_is_part_of_their_names(tmp_path):
    path = tmp_path / 'weights.pth'
    state = build_backbone('enet', num_classes=3).state_dict()
    torch.save({**state, 'module.extra': torch.ones(1)}, path)
    with pytest.raises(StorageError, match=r'module\.extra'):
        load_checkpoint(build_backbone('enet', num_classes=3), path)


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('object', r'objects other than tensors \(.*system\)'),
        ('whole network', 'objects other than tensors'),
        ('cut off', 'damaged'),
        ('text', 'neither a PyTorch'),
        ('empty', 'neither a PyTorch'),
    ],
)
def test_unreadable_files_never_advise_to_let_them_run_code(tmp_path, kind, reason):
    path = tmp_path / 'weights.pth'
    if kind == 'object':
        torch.save({'a': Payload()}, path)
    elif kind == 'whole network':
        torch.save(build_backbone('enet', num_classes=3), path)
    else:
        torch.save(build_backbone('enet', num_classes=3).state_dict(), path)
        data = path.read_bytes()
        path.write_bytes({'cut off': data[: len(data) // 2], 'text': b'hello', 'empty': b''}[kind])
    with pytest.raises(StorageError, match=reason) as caught:
        load_checkpoint(build_backbone('enet', num_classes=3), path)
    assert 'weights_only' not in str(caught.value)


@pytest.mark.parametrize('kind', ['missing', 'garbage', 'pickle', 'list'])
def test_unusable_files_get_one_sentence(tmp_path, kind):
    path = tmp_path / 'weights.pth'
    if kind == 'garbage':
        path.write_bytes(b'\x00not a checkpoint')
    elif kind == 'pickle':
        torch.save({'a': Payload()}, path)
    elif kind == 'list':
        torch.save([1, 2], path)
    with pytest.raises(StorageError, match=r'weights\.pth') as caught:
        load_checkpoint(build_backbone('enet', num_classes=3), path)
    assert '\n' not in str(caught.value)
    assert not Path('/tmp/should-never-exist-ood').exists()


def test_training_states_survive_a_failed_write(tmp_path):
    path = tmp_path / 'state.pt'
    assert read_checkpoint(path) is None
    write_checkpoint(path, {'step': 3, 'weight': torch.ones(2)})
    with pytest.raises(Exception, match='pickle'):
        write_checkpoint(path, {'step': 4, 'bad': lambda: None})
    state = read_checkpoint(path)
    assert state is not None
    assert state['step'] == 3
    assert [item.name for item in tmp_path.iterdir()] == ['state.pt']
    path.write_bytes(b'short')
    with pytest.raises(StorageError, match='delete it'):
        read_checkpoint(path)
