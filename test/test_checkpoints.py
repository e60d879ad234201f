from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from offline_training.backbones import build_backbone
from offline_training.backbones.checkpoints import load_checkpoint
from offline_training.config import Config, InputConfig
from offline_training.context import network_image
from offline_training.data.camvid import CamVid
from offline_training.evaluation.segmentation import ConfusionMatrix
from offline_training.normalization import Normalize
from offline_training.prediction import predict_labels
from offline_training.storage import StorageError, read_checkpoint, write_checkpoint, write_tensors

SHARED = Path(os.environ.get('OOD_SHARED', Path(__file__).parent.parent.parent / 'shared'))
ESPNET = 'espnet_p_2_q_8_camvid.pth'
ENET = 'enet_camvid_921e40c.pth'


def public(name):
    path = SHARED / 'checkpoints' / name
    if not path.is_file():
        pytest.skip(f'{path} is not there; set OOD_SHARED to the folder of checkpoints and data')
    return path


@pytest.mark.parametrize(
    ('architecture', 'name', 'parameters'),
    [('espnet', ESPNET, 354_517), ('enet_2018', ENET, 359_780)],
)
def test_public_checkpoints_fill_every_tensor(architecture, name, parameters):
    path = public(name)
    network = build_backbone(architecture, num_classes=12)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    load_checkpoint(network, path)
    assert sum(p.numel() for p in network.parameters()) == parameters
    same = [k for k, v in network.state_dict().items() if v.ndim > 1 and torch.equal(v, before[k])]
    assert not same


@pytest.mark.parametrize(
    ('architecture', 'name', 'input_config', 'at_least'),
    [
        ('espnet', ESPNET, InputConfig(
            480, 360, 'bgr', (110.331, 108.409, 105.034), (18391.875, 18535.44, 17825.265)
        ), 0.88),
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


class Payload:
    def __reduce__(self):
        return (os.system, ('touch /tmp/should-never-exist-ood',))


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
