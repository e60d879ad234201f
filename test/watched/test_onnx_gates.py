"""The gates an exported graph must pass: parity with torch in shape, finiteness and value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
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


def test_a_graph_that_is_not_finite_does_not(doubled):
    with pytest.raises(GateError, match=r'y in .* is not finite'):
        check_parity(doubled, Zero(), [{'x': FEED['x'] * np.float32('inf')}])
