from __future__ import annotations

import onnx
import pytest
import torch
import torch.nn.functional as F

from offline_training.backbones import BACKBONES, build_backbone
from offline_training.backbones.unpooling import phase_unpool
from offline_training.config import ConfigError

STRIDES = {
    'espnet': {'level1': 2, 'level2': 4, 'level3': 8, 'decoder': 2},
    'espnet_q3': {'level1': 2, 'level2': 4, 'level3': 8, 'decoder': 2},
    'enet': {'initial': 2, 'stage1': 4, 'stage2': 8, 'stage3': 8, 'decoder': 2},
}
STRIDES['enet_2018'] = STRIDES['enet']


@pytest.mark.parametrize('levels', [2, 5, None], ids=['many ties', 'some ties', 'continuous'])
@pytest.mark.parametrize('relu', [False, True])
def test_phase_unpool_equals_max_unpool_bit_for_bit(levels, relu):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 5, 16, 24, generator=generator)
    if levels:
        x = torch.round(x * levels) / levels
    if relu:
        x = x.relu()
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    y = torch.randn(pooled.shape, generator=generator)
    assert torch.equal(phase_unpool(y, x), F.max_unpool2d(y, indices, 2))


def test_phase_unpool_of_a_constant_map_keeps_the_first_of_each_window():
    out = phase_unpool(torch.ones(1, 1, 2, 4), torch.full((1, 1, 4, 8), 3.0))
    assert out.sum() == 8
    assert torch.equal(out[0, 0, ::2, ::2], torch.ones(2, 4))


@pytest.mark.parametrize('architecture', sorted(BACKBONES))
def test_logits_and_taps_have_the_stated_sizes(architecture):
    network = build_backbone(architecture, num_classes=7).eval()
    x = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        logits, taps = network.features(x)
        assert torch.equal(network(x), logits)
    assert logits.shape == (2, 7, 48, 64)
    strides = {name: 48 // tap.shape[2] for name, tap in taps.items()}
    assert strides == STRIDES[architecture]
    assert all(tap.shape[3] * strides[name] == 64 for name, tap in taps.items())


@pytest.mark.parametrize('architecture', sorted(BACKBONES))
def test_every_parameter_is_trained(architecture):
    network = build_backbone(architecture, num_classes=5).train()
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize(
    ('architecture', 'reason'),
    [('vgg', r"'vgg' is not one of enet, enet_2018, espnet"), ('espnet', 'at least 5 outputs')],
)
def test_networks_that_cannot_be_built_are_refused(architecture, reason):
    with pytest.raises(ConfigError, match=reason):
        build_backbone(architecture, num_classes=3)


def test_enet_unpools_alike_in_training_and_in_the_exported_form():
    torch.manual_seed(2)
    network = build_backbone('enet', num_classes=4).eval()
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        exported_form = network(x)
        network.training = True  # only the outermost module: norms and dropout stay in eval
        assert torch.equal(network(x), exported_form)


def test_exported_enet_pools_without_indices(tmp_path):
    import numpy as np
    import onnxruntime

    torch.manual_seed(3)
    network = build_backbone('enet', num_classes=4).eval()
    x = torch.randn(1, 3, 32, 48)
    program = torch.onnx.export(network, (x,), dynamo=True, opset_version=18, verbose=False)
    path = tmp_path / 'enet.onnx'
    program.save(path)
    nodes = onnx.load(path).graph.node
    assert not [n for n in nodes if n.op_type == 'MaxPool' and len(n.output) > 1]
    assert not {'MaxUnpool', 'ScatterND', 'ScatterElements'} & {n.op_type for n in nodes}
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(result, network(x).numpy(), rtol=1e-3, atol=1e-4)
