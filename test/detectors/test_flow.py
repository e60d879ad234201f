"""The dense flow: exact inverse, exact Jacobian, Gaussian before training, learns a density."""

import math

import numpy as np
import pytest
import torch

from offline_training.detectors.dense_flow.flow import (
    CLAMP,
    DenseFlow,
    TapFlow,
    Whitening,
    position,
)


def trained_like(flow: DenseFlow, seed: int = 0) -> DenseFlow:
    """Random weights everywhere, so that a wrong formula cannot hide behind the zero start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.25 * torch.randn(parameter.shape, generator=generator))
    return flow


@pytest.fixture
def flow() -> DenseFlow:
    return trained_like(DenseFlow(6, layers=3, hidden=16, conditions=2)).double()


def batch(dimensions: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, dimensions, 3, 4).double(), position(3, 4).double().expand(2, -1, -1, -1)


def test_inverse_undoes_forward(flow):
    x, condition = batch()
    z, _ = flow(x, condition)
    assert torch.allclose(flow.inverse(z, condition), x, atol=1e-4)


def test_log_det_is_that_of_the_jacobian(flow):
    x, condition = batch()
    _, log_det = flow(x, condition)
    for b, row, column in ((0, 0, 0), (1, 2, 3)):
        at = (slice(b, b + 1), slice(None), slice(row, row + 1), slice(column, column + 1))
        jacobian = torch.autograd.functional.jacobian(
            lambda v, at=at: flow(v.view(1, 6, 1, 1), condition[at])[0].flatten(), x[at].flatten()
        )
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            log_det[b, row, column].item(), abs=1e-5
        )


def test_pixels_do_not_influence_each_other(flow):
    x, condition = batch()
    before = flow.log_prob(x, condition)
    x[0, :, 1, 1] += 3
    after = flow.log_prob(x, condition)
    changed = (before != after).nonzero().tolist()
    assert changed == [[0, 1, 1]]


def test_starts_as_the_standard_gaussian():
    flow = DenseFlow(5, layers=4, hidden=8)
    x, condition = batch(5)
    x, condition = x.float(), condition.float()
    expected = -0.5 * (x * x).sum(1) - 2.5 * math.log(2 * math.pi)
    assert torch.allclose(flow.log_prob(x, condition), expected, atol=1e-4)


def test_scale_is_bounded_for_extreme_inputs(flow):
    x, condition = batch()
    _, log_det = flow(1e6 * x, condition)
    assert log_det.abs().max() <= 3 * CLAMP * 3 + 1e-9


def test_density_integrates_to_one():
    flow = trained_like(DenseFlow(2, layers=2, hidden=8), 3)
    axis = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(axis, axis).T.reshape(1, 2, 241, 241)
    condition = torch.zeros(1, 2, 241, 241)
    with torch.no_grad():
        total = flow.log_prob(grid, condition).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1.0, abs=0.02)


def test_whitening_decorrelates():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(7, 7))
    samples = torch.from_numpy(rng.normal(size=(5000, 7)) @ mixing + 3).float()
    whitening = Whitening(7, 4)
    whitening.fit(samples)
    white = whitening(samples[..., None, None])[:, :, 0, 0]
    assert torch.allclose(torch.cov(white.T), torch.eye(4), atol=0.02)
    assert white.mean(0).abs().max() < 1e-3


def test_map_is_higher_where_features_are_unusual():
    torch.manual_seed(0)
    flow = TapFlow(['a', 'b'], 7, (4, 6), (8, 12), DenseFlow(5, layers=2))
    taps = {'a': torch.randn(1, 3, 8, 12), 'b': torch.randn(1, 4, 4, 6)}
    flow.whitening.fit(torch.randn(1000, 7))
    taps['b'][:, :, 2:, 3:] += 6
    density = flow(taps)
    assert density.shape == (1, 1, 8, 12)
    assert density[0, 0, 5:, 7:].min() > density[0, 0, :3, :5].max()
