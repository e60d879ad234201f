"""What every registered network promises: sizes, taps, determinism, gradients, export."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from offline_training.learning.settings import ConfigError
from offline_training.segmentation.backbones import BACKBONES, build_backbone
from offline_training.segmentation.backbones.classifiers import CLASSIFIERS, build_classifier
from offline_training.segmentation.backbones.dropblock import DropBlock2D, drop_block
from offline_training.segmentation.backbones.unpooling import phase_unpool
from offline_training.segmentation.config import BackboneConfig
from offline_training.watched.onnx_gates import GateError, check_graph

CLASSES = 7
ARCHITECTURES = [
    pytest.param(name, marks=pytest.mark.slow if name.startswith('deeplab') else ())
    for name in sorted(BACKBONES)
]

# Channels and stride; sizes are rounded down, but up in a ResNet.
ESPNET = {'level1': (19, 2), 'level2': (131, 4), 'level3': (256, 8), 'decoder': (CLASSES, 2)}
ENET = {
    'initial': (16, 2),
    'stage1': (64, 4),
    'stage2': (128, 8),
    'stage3': (128, 8),
    'decoder': (16, 2),
}
SEGNET = {
    'down1': (64, 2),
    'down2': (128, 4),
    'down3': (256, 8),
    'down4': (512, 16),
    'down5': (512, 32),
    'up5': (512, 16),
    'up4': (256, 8),
    'up3': (128, 4),
    'up2': (64, 2),
    'up1': (CLASSES, 1),
}
DEEPLAB = {
    'layer1': (256, 4),
    'layer2': (512, 8),
    'layer3': (1024, 16),
    'layer4': (2048, 16),
    'aspp': (256, 16),
    'decoder': (256, 4),
}


def expected_taps(architecture):
    families = {'espnet': ESPNET, 'enet': ENET, 'segnet': SEGNET, 'deeplabv3plus': DEEPLAB}
    return families[architecture.split('_')[0]]


def build(architecture, seed=1):
    torch.manual_seed(seed)
    return build_backbone(architecture, num_classes=CLASSES).eval()


def image(height=48, width=64, batch=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(2))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(2, 13),
    st.integers(2, 13),
    st.sampled_from([2, 5, 1000]),
    st.booleans(),
    st.integers(0, 10),
)
def test_phase_unpool_equals_max_unpool_bit_for_bit(height, width, levels, relu, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few levels: many ties, of which the first must win.
    x = torch.round(torch.randn(2, 3, height, width, generator=generator) * levels) / levels
    if relu:
        x = x.relu()
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    y = torch.randn(pooled.shape, generator=generator)
    expected = F.max_unpool2d(y, indices, 2, output_size=(height, width))
    assert torch.equal(phase_unpool(y, x), expected)


def test_phase_unpool_of_a_constant_map_keeps_the_first_of_each_window():
    out = phase_unpool(torch.ones(1, 1, 2, 4), torch.full((1, 1, 4, 8), 3.0))
    assert out.sum() == 8
    assert torch.equal(out[0, 0, ::2, ::2], torch.ones(2, 4))


def test_configuration_knows_exactly_the_registered_architectures():
    assert set(get_args(get_type_hints(BackboneConfig)['architecture'])) == set(BACKBONES)


@pytest.mark.parametrize('size', [(64, 96), (360, 480)])
@pytest.mark.parametrize('architecture', sorted(BACKBONES))
def test_logits_and_taps_have_the_stated_sizes(architecture, size):
    # Without memory and arithmetic, so that the largest networks are checked at camera size.
    with torch.device('meta'):
        network = build_backbone(architecture, num_classes=CLASSES).eval()
        logits, taps = network.features(torch.empty(2, 3, *size))
    assert logits.shape == (2, CLASSES, *size)
    up = -1 if architecture.startswith('deeplab') else 1
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == {
        name: (2, channels, *(up * (up * side // stride) for side in size))
        for name, (channels, stride) in expected_taps(architecture).items()
    }


@pytest.mark.parametrize('architecture', ARCHITECTURES)
def test_evaluation_is_deterministic_and_leaves_the_network_alone(architecture):
    network = build(architecture)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = image(batch=2)
    with torch.no_grad():
        logits, taps = network.features(x)
        again, taps_again = network.features(x)
        alone = network(x[1:])
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, again)
    assert all(torch.equal(tap, taps_again[name]) for name, tap in taps.items())
    # Each image of a batch is scored by itself.
    torch.testing.assert_close(alone, logits[1:], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize('architecture', ARCHITECTURES)
def test_every_parameter_is_trained(architecture):
    network = build(architecture)
    network(image(64, 64)).square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    network.zero_grad()
    network.train()(image(64, 64, batch=2)).square().mean().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None]


@pytest.mark.slow
@pytest.mark.parametrize('architecture', sorted(BACKBONES))
def test_exports_where_it_says_so(architecture, tmp_path):
    network = build(architecture)
    x = image(40, 48)
    path = tmp_path / 'network.onnx'
    torch.onnx.export(
        network, (x,), path, dynamo=True, opset_version=18, external_data=False, verbose=False
    )
    if not network.exportable:
        with pytest.raises(GateError, match=r'indices|MaxUnpool|Scatter'):
            check_graph(path)
        return
    check_graph(path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        expected = network(x).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_only_the_overlapping_pooling_cannot_be_exported():
    with torch.device('meta'):
        exportable = {name: build_backbone(name, CLASSES).exportable for name in BACKBONES}
    assert [name for name, claim in exportable.items() if not claim] == ['enet_2018']


@pytest.mark.parametrize(
    ('architecture', 'reason'),
    [
        ('vgg', r"'vgg' is not one of deeplabv3plus_resnet101.*, enet, enet_2018, espnet"),
        ('espnet', 'at least 5 outputs'),
        ('espnet_dropout', 'at least 5 outputs'),
    ],
)
def test_networks_that_cannot_be_built_are_refused(architecture, reason):
    with pytest.raises(ConfigError, match=reason):
        build_backbone(architecture, num_classes=3)


@pytest.mark.parametrize(('architecture', 'size'), [('enet', (32, 48)), ('segnet', (45, 58))])
def test_unpools_alike_in_training_and_in_the_exported_form(architecture, size):
    # 45 and 58 become odd at several scales.
    network = build(architecture)
    x = image(*size)
    with torch.no_grad():
        exported_form = network(x)
        network.training = True  # only the outermost module: norms and dropout stay in eval
        assert torch.equal(network(x), exported_form)


def test_segnet_leaves_negative_logits_alive():
    with torch.no_grad():
        assert (build('segnet')(image()) < 0).any()


@pytest.mark.parametrize('places', ['regular', 'custom'])
def test_esp_dropout_net_evaluates_as_espnet_with_the_same_tensors(places):
    plain = build_backbone('espnet', CLASSES, q=2).eval()
    network = build_backbone('espnet_dropout', CLASSES, places=places, q=2).eval()
    network.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(network(image()), plain(image()))


@pytest.mark.parametrize(
    ('places', 'kind', 'count'),
    # q=2: five ESP convolutions plus a reduction in each of seven blocks, the stem, three 1x1 or
    # 3x3 and two of three transposed convolutions.
    [('regular', nn.Dropout, 7 * 6 + 1 + 3 + 2), ('custom', nn.Dropout2d, 2 + 2 + 1)],
)
def test_esp_dropout_net_drops_at_its_places_without_touching_the_norms(places, kind, count):
    network = build_backbone('espnet_dropout', CLASSES, places=places, q=2).eval()
    drops = [module for module in network.modules() if isinstance(module, kind)]
    assert len(drops) == count
    assert {drop.p for drop in drops} == {0.2}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for drop in drops:
        drop.train()
    passes = []
    with torch.no_grad():
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            passes.append(network(image()))
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_esp_dropout_net_drops_a_fifth_of_what_a_convolution_returns():
    network = build_backbone('espnet_dropout', CLASSES, q=1).eval()
    convolution = network.esp3[0].reduce
    convolution.dropout.train()
    torch.manual_seed(0)
    with torch.no_grad():
        dropped = convolution(torch.randn(1, 128, 32, 32)) == 0
    assert 0.17 < dropped.float().mean() < 0.23
    # Single values, not whole channels.
    assert 0 < dropped.float().mean(dim=(0, 2, 3)).max() < 0.5


@pytest.mark.slow
def test_deeplab_decodes_masked_maps_as_its_own_dropblock_does():
    network = build('deeplabv3plus_resnet50_dropblock')
    x = image(48, 64, batch=2)
    with torch.no_grad():
        logits, taps = network.features(x)
        decoded, _ = network.decode(taps['layer1'], taps['layer4'], (48, 64))
        assert torch.equal(decoded, logits)
        drops = [module for module in network.modules() if isinstance(module, DropBlock2D)]
        assert [(drop.block_size, drop.drop_prob) for drop in drops] == [(48, 0.2), (12, 0.2)]
        for drop in drops:
            drop.train()
            drop.generator = torch.Generator().manual_seed(3)
        dropped, taps_again = network.features(x)
        maps = []
        for name, block in (('layer1', drops[0]), ('layer4', drops[1])):
            assert torch.equal(taps_again[name], taps[name])  # taps come before DropBlock
            block.generator.manual_seed(3)
            maps.append(block(taps[name]))
        assert torch.equal(network.decode(*maps, (48, 64))[0], dropped)
        zero = drop_block(taps['layer4'], torch.zeros(2, 1, 3, 4))
        assert not torch.equal(network.decode(taps['layer1'], zero, (48, 64))[0], logits)


@pytest.mark.parametrize('depth', [50, 101])
def test_dropblock_changes_no_tensor_name(depth):
    with torch.device('meta'):
        plain = build_backbone(f'deeplabv3plus_resnet{depth}', CLASSES).state_dict()
        other = build_backbone(f'deeplabv3plus_resnet{depth}_dropblock', CLASSES).state_dict()
    assert {k: v.shape for k, v in plain.items()} == {k: v.shape for k, v in other.items()}


CLASSIFIER_TAPS = {
    # The five and four layers of the Residual Flow protocol.
    'resnet34': {
        'stem': (64, 32),
        'layer1': (64, 32),
        'layer2': (128, 16),
        'layer3': (256, 8),
        'layer4': (512, 4),
    },
    'densenet_bc_100': {
        'conv1': (24, 32),
        'trans1': (108, 16),
        'trans2': (150, 8),
        'final': (342, 8),
    },
}


@pytest.mark.parametrize(
    # DenseNet: "0.8 M" in table 2 of Huang et al. 2017; ResNet-34 without its 7x7 stem and 1000
    # classes.
    ('architecture', 'parameters'),
    [('resnet34', 21_282_122), ('densenet_bc_100', 769_162)],
)
def test_classifiers_have_the_sizes_of_their_papers(architecture, parameters):
    assert set(CLASSIFIERS) == set(CLASSIFIER_TAPS)
    with torch.device('meta'):
        network = build_classifier(architecture, 10).eval()
        logits, taps = network.features(torch.empty(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == {
        name: (2, channels, side, side)
        for name, (channels, side) in CLASSIFIER_TAPS[architecture].items()
    }
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_classifier_is_deterministic_and_trains_every_parameter():
    torch.manual_seed(4)
    network = build_classifier('densenet_bc_100', 3).eval()
    x = image(16, 16, batch=2)
    logits, taps = network.features(x)
    assert torch.equal(network(x), logits)
    assert taps['final'].min() >= 0
    logits.square().sum().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_unknown_classifiers_are_refused():
    with pytest.raises(ConfigError, match='densenet_bc_100, resnet34'):
        build_classifier('vgg', 10)
