"""Flows on samples: exact inverse, exact Jacobian, repeatable, and they learn a density."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from offline_training.detectors.daain.flows import CLAMP, build_flow
from offline_training.detectors.daain.scorer import (
    fit_flow,
    gaussian_kl,
    negative_log_likelihood,
)

KINDS = {
    'glow_linear': (7, 1, 1),
    'gin_linear': (7, 1, 1),
    'glow_1x1': (4, 2, 3),
    'gin_1x1': (5, 2, 2),
    'conditional': (3, 2, 4),
}


def trained_like(kind, seed: int = 0, blocks: int = 4, spread: float = 0.3):
    """Random weights everywhere, so that a wrong formula cannot hide behind the zero start."""
    flow = build_flow(kind, KINDS[kind], blocks, 6, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return flow


def batch(kind, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(count, *KINDS[kind], generator=generator)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('blocks', [4, 16])
def test_inverse_undoes_forward(kind, blocks):
    # Moderate weights: in single precision, sixteen wild blocks lose every digit.
    flow, x = trained_like(kind, blocks=blocks, spread=0.1), batch(kind)
    z, _ = flow(x)
    assert z.shape == (3, np.prod(KINDS[kind]))
    assert not torch.allclose(z.sort()[0], x.flatten(1).sort()[0], atol=0.1)
    assert (flow.inverse(z) - x).abs().max() < 1e-4
    assert torch.allclose(flow.double().inverse(flow(x.double())[0]), x.double(), atol=1e-9)


@pytest.mark.parametrize('kind', KINDS)
def test_log_det_is_that_of_the_jacobian(kind):
    flow, x = trained_like(kind).double(), batch(kind).double()
    log_det = flow(x)[1]
    assert log_det.shape == (3,)
    for row in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: flow(v.view(1, *KINDS[kind]))[0].flatten(), x[row].flatten()
        )
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            log_det[row].item(), abs=1e-8
        )


@pytest.mark.parametrize('kind', ['gin_linear', 'gin_1x1'])
def test_gin_preserves_volume_but_not_distances(kind):
    flow, x = trained_like(kind).double(), batch(kind).double()
    z, log_det = flow(x)
    assert log_det.abs().max() < 1e-10
    assert not torch.allclose(torch.cdist(z, z), torch.cdist(x.flatten(1), x.flatten(1)))


@pytest.mark.parametrize('kind', KINDS)
def test_the_start_only_permutes(kind):
    flow, x = build_flow(kind, KINDS[kind], 4, 6, 1), batch(kind)
    z, log_det = flow(x)
    assert torch.equal(z.sort()[0], x.flatten(1).sort()[0])
    assert not torch.equal(z, x.flatten(1))
    assert (log_det == 0).all()


def test_scale_is_bounded_for_extreme_inputs():
    flow = trained_like('glow_linear').double()
    with torch.no_grad():
        for block in flow.chain.blocks:
            block.log_scale.zero_()
    _, log_det = flow(1e6 * batch('glow_linear').double())
    assert log_det.abs().max() <= 4 * CLAMP * 4 + 1e-9


def test_the_condition_is_the_place_in_the_image():
    """The same column of activations means another thing at the top than at the bottom."""
    flow = trained_like('conditional')
    column = torch.randn(1, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    fine, _ = flow.fine(column.expand(1, 3, 2, 4), flow.fine_position)
    assert not torch.allclose(fine[..., 0, :], fine[..., 1, :], atol=1e-3)


def test_permutations_and_weights_follow_the_seed_not_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build_flow('glow_linear', (9, 1, 1), 3, 4, seed=1).state_dict()
    assert torch.equal(torch.rand(1), expected)
    again = build_flow('glow_linear', (9, 1, 1), 3, 4, seed=1).state_dict()
    other = build_flow('glow_linear', (9, 1, 1), 3, 4, seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(
        not torch.equal(first[name], other[name]) for name in first if 'permutation' in name
    )
    assert 'chain.blocks.0.permutation' in first  # saved, not drawn again


def test_shapes_that_cannot_flow_are_refused():
    with pytest.raises(ValueError, match='at least two'):
        build_flow('glow_1x1', (1, 4, 4), 2, 4, 0)
    with pytest.raises(ValueError, match='even size'):
        build_flow('conditional', (4, 3, 4), 2, 4, 0)


def test_kl_is_that_of_the_fitted_gaussians():
    z = 1.7 * torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) + 0.4
    fitted = Normal(z.mean(0), z.std(0, unbiased=False))
    expected = kl_divergence(fitted, Normal(0.0, 1.0)).mean().item()
    assert gaussian_kl(z) == pytest.approx(expected, rel=1e-5)


def test_loss_is_the_likelihood_per_dimension():
    flow, x = trained_like('glow_linear').double(), batch('glow_linear').double()
    z, log_det = flow(x)
    log_p = Normal(0.0, 1.0).log_prob(z).sum(1) + log_det
    constant = 0.5 * np.log(2 * np.pi)
    loss = negative_log_likelihood(flow, x).item()
    assert loss == pytest.approx(-log_p.mean().item() / 7 - constant, abs=1e-9)


def bent(count: int, seed: int) -> torch.Tensor:
    """Samples whose second half follows from the first, which no diagonal Gaussian describes."""
    generator = torch.Generator().manual_seed(seed)
    cause = torch.randn(count, 4, generator=generator)
    effect = cause.abs() - 0.8 + 0.2 * torch.randn(count, 4, generator=generator)
    x = torch.cat([cause, effect], dim=1)
    return ((x - x.mean(0)) / x.std(0))[:, :, None, None]


def test_training_learns_a_density():
    flow, held_out = build_flow('glow_linear', (8, 1, 1), 6, 10, 0), bent(500, 1)
    with torch.no_grad():
        untrained = negative_log_likelihood(flow, held_out)
    history = fit_flow(flow, bent(320, 0), 60, 7)
    assert len(history.train) == len(history.kl) <= 60
    with torch.no_grad():
        assert negative_log_likelihood(flow, held_out) < untrained - 0.02
    assert history.train[-1] < history.train[0]


def test_training_is_repeatable():
    flows = [build_flow('glow_linear', (8, 1, 1), 3, 10, 0) for _ in range(3)]
    seeds = (7, 7, 8)
    histories = [
        fit_flow(flow, bent(100, 0), 4, seed) for flow, seed in zip(flows, seeds, strict=True)
    ]
    assert histories[0] == histories[1] != histories[2]
    states = [flow.state_dict() for flow in flows]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_ends_at_the_best_epoch():
    """With a handful of samples every step overfits; the flow must not keep that."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(12, 40, 1, 1, generator=generator)
    flow = build_flow('glow_linear', (40, 1, 1), 4, 10, 0)
    history = fit_flow(flow, samples, 200, 0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        kept = negative_log_likelihood(flow, samples[order[:2]]).item()
    assert kept <= min(history.validation) + 1e-6
    assert len(history.validation) < 200


def test_one_sample_is_too_few():
    with pytest.raises(ValueError, match='at least two frames'):
        fit_flow(build_flow('glow_linear', (4, 1, 1), 1, 4, 0), torch.zeros(1, 4, 1, 1), 1, 0)
