"""The gates an exported graph must pass: parity with torch in shape, finiteness and value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from offline_training.watched.onnx_gates import GateError, check_parity


class Affine(nn.Module):
    def __init__(self, factor: float, offset: float = 0.0):
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


FEED = {'x': np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)}


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """The graph of y = 2 x."""
    path = tmp_path / 'doubled.onnx'
    torch.onnx.export(
        Affine(2.0).eval(),
        (torch.from_numpy(FEED['x']),),
        path,
        input_names=['x'],
        output_names=['y'],
        dynamo=True,
    )
    return path


@pytest.mark.slow
def test_the_same_function_passes(doubled):
    assert check_parity(doubled, Affine(2.0), [FEED]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ('module', 'message'),
    [
        (Affine(2.1), 'of its range'),
        (Affine(float('nan')), 'doubled.onnx:y is not finite in torch'),
        (Flat(), 'in torch'),
    ],
)
def test_another_one_does_not(doubled, module, message):
    with pytest.raises(GateError, match=message):
        check_parity(doubled, module, [FEED])


class Apart(nn.Module):
    """y = 2 x, but for a share of the values."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        y = 2 * x
        y.flatten()[: round(self.share * x.numel())] += 1
        return y


@pytest.mark.parametrize(
    ('share', 'unpools', 'passes'),
    [(0.005, True, True), (0.02, True, False), (0.005, False, False), (0.0, False, True)],
)
def test_single_values_may_differ_behind_an_unpooling_only(tmp_path, share, unpools, passes):
    shape = [1, 8, 16, 16]
    nodes = [helper.make_node('Add', ['x', 'x'], ['sum'])]
    if unpools:
        nodes.append(helper.make_node('Equal', ['x', 'x'], ['highest']))
        nodes.append(helper.make_node('Where', ['highest', 'sum', 'x'], ['y']))
    else:
        nodes.append(helper.make_node('Identity', ['sum'], ['y']))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in 'xy']
    graph = helper.make_graph(nodes, 'graph', ends[:1], ends[1:])
    opset = [helper.make_opsetid('', 18)]
    path = tmp_path / 'graph.onnx'
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    feed = {'x': np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    if passes:
        check_parity(path, Apart(share), [feed])
        return
    with pytest.raises(GateError, match='of its range'):
        check_parity(path, Apart(share), [feed])


def test_a_graph_that_is_not_finite_does_not(doubled):
    with pytest.raises(GateError, match=r'y in .* is not finite'):
        check_parity(doubled, Zero(), [{'x': FEED['x'] * np.float32('inf')}])
