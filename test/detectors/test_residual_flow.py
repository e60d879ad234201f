"""Residual couplings: exact inverse and Jacobian, Gaussian before training, better after."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import oas
from sklearn.metrics import roc_auc_score
from support.colour_network import normal_frames, some_images, watched_network
from support.solid_colours import solid_frames

from offline_training.detectors.layer_density.class_density import ClassDensity
from offline_training.detectors.layer_density.residual_couplings import ClassCouplings
from offline_training.detectors.layer_density.tied_gaussian import ClassMoments, TiedGaussian
from offline_training.detectors.mahalanobis.mahalanobis import Mahalanobis
from offline_training.detectors.residual_flow.coupling_training import by_class, train_couplings
from offline_training.detectors.residual_flow.residual_flow import ResidualFlow


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained_like(flow: ClassCouplings, seed: int = 0, size: float = 0.4) -> ClassCouplings:
    """Random weights everywhere, so that a wrong formula cannot hide behind the zero start."""
    random = generator(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=random))
    return flow.double()


# Couplings


@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_inverse_undoes_forward(classes, dimensions, couplings, count, seed):
    flow = trained_like(ClassCouplings(classes, dimensions, couplings, 5, generator(seed)), seed)
    x = 3 * torch.randn(count, classes, dimensions, generator=generator(seed)).double()
    with torch.no_grad():
        z, log_det = flow(x)
        assert z.shape == x.shape
        assert log_det.shape == (count, classes)
        torch.testing.assert_close(flow.inverse(z), x, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(flow(flow.inverse(x))[0], x, atol=1e-8, rtol=1e-8)


def test_reconstruction_error_in_single_precision():
    flow = trained_like(ClassCouplings(3, 64, 10, 16, generator()), size=0.1).float()
    x = torch.randn(20, 3, 64, generator=generator(1))
    with torch.no_grad():
        assert (flow.inverse(flow(x)[0]) - x).abs().max() < 1e-4


@pytest.mark.parametrize('dimensions', [1, 4, 5])
def test_log_det_is_that_of_the_jacobian(dimensions):
    flow = trained_like(ClassCouplings(2, dimensions, 4, 6, generator()))
    x = torch.randn(3, 2, dimensions, generator=generator(1)).double()
    _, log_det = flow(x)
    for n in range(3):
        jacobian = torch.func.jacrev(lambda v: flow(v.view(1, 2, dimensions))[0].flatten())(
            x[n].flatten()
        )
        jacobian = jacobian.view(2, dimensions, 2, dimensions)
        for k in range(2):
            expected = torch.linalg.slogdet(jacobian[k, :, k])[1]
            assert log_det[n, k].item() == pytest.approx(expected.item(), abs=1e-9)
            assert jacobian[k, :, 1 - k].abs().max() == 0  # classes share nothing


def test_permutations_are_fixed_different_and_saved():
    flow = ClassCouplings(2, 16, 6, 4, generator(3))
    assert torch.equal(flow.permutations.sort(dim=1).values, torch.arange(16).expand(3, -1))
    assert len({tuple(row.tolist()) for row in flow.permutations}) == 3
    other = ClassCouplings(2, 16, 6, 4, generator(4))
    assert not torch.equal(flow.permutations, other.permutations)
    other.load_state_dict(flow.state_dict())
    x = torch.randn(5, 2, 16, generator=generator())
    assert torch.equal(flow(x)[0], other(x)[0])


def test_couplings_are_the_identity_up_to_order_before_training():
    flow = ClassCouplings(2, 7, 10, 4, generator())
    x = torch.randn(5, 2, 7, generator=generator())
    z, log_det = flow(x)
    assert torch.equal(z.sort(dim=-1).values, x.sort(dim=-1).values)
    assert (log_det == 0).all()


def test_every_dimension_is_changed_by_one_pair():
    flow = trained_like(ClassCouplings(1, 6, 2, 4, generator()))
    jacobian = torch.func.jacrev(lambda v: flow(v)[0].flatten())(torch.randn(1, 1, 6).double())
    inverse_order = flow.restoring[0]
    diagonal = jacobian.view(6, 6)[inverse_order].diagonal()
    assert ((diagonal - 1).abs() > 1e-6).all()


# Density


def gaussian_of(x: torch.Tensor, c: torch.Tensor, classes: int) -> TiedGaussian:
    moments = ClassMoments(classes, x.shape[1], x.device)
    moments.update(x, c)
    return TiedGaussian.of(moments, 1e-4)


def test_zero_start_is_mahalanobis():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))).float()
    c = torch.from_numpy(rng.integers(0, 3, 300))
    gaussian = gaussian_of(x, c, 3)
    flow = ClassDensity(gaussian, ClassCouplings(3, 6, 10, 8, generator()))
    every = x[:, None].expand(-1, 3, -1)
    with torch.no_grad():
        torch.testing.assert_close(
            flow.log_prob(every), ClassDensity(gaussian).log_prob(every), atol=1e-5, rtol=1e-5
        )
    centred = x.double() - gaussian.means[c].double()
    covariance = oas(centred.numpy(), assume_centered=True)[0]
    for k in range(3):
        expected = multivariate_normal(gaussian.means[k].numpy(), covariance).logpdf(x.numpy())
        np.testing.assert_allclose(flow.log_prob(every)[:, k].detach(), expected, rtol=1e-4)


def test_density_integrates_to_one():
    x = torch.randn(200, 2, generator=generator()) @ torch.tensor([[1.0, 0.4], [0.0, 0.7]])
    c = torch.arange(200) % 2
    density = ClassDensity(
        gaussian_of(x, c, 2), trained_like(ClassCouplings(2, 2, 4, 6, generator())).float()
    )
    axis = torch.linspace(-12, 12, 301)
    grid = torch.cartesian_prod(axis, axis)[:, None].expand(-1, 2, -1)
    with torch.no_grad():
        total = density.log_prob(grid).exp().sum(0) * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(total, torch.ones(2), atol=0.01, rtol=0)


# Training


def moons(rng: np.random.Generator, count: int, classes: int = 2):
    """Two interleaved half circles per class: a Gaussian is dense where no feature ever is."""
    c = rng.integers(0, classes, count)
    upper = rng.random(count) < 0.5
    angle = rng.uniform(0, math.pi, count)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    x = np.stack([x, y], 1) + 0.08 * rng.normal(size=(count, 2))
    x[c == 1] = x[c == 1, ::-1] + (6, 0)
    return torch.from_numpy(x).float(), torch.from_numpy(c)


def test_training_beats_mahalanobis_where_features_are_not_gaussian():
    rng = np.random.default_rng(0)
    (x, c), (valid, valid_c), (test, test_c) = (moons(rng, n) for n in (2000, 500, 1000))
    gaussian = gaussian_of(x, c, 2)
    couplings = ClassCouplings(2, 2, 6, 16, generator())
    gain = train_couplings(
        couplings,
        by_class(gaussian.of_class(x, c), c, 2),
        by_class(gaussian.of_class(valid, valid_c), valid_c, 2),
        steps=200,
        learning_rate=1e-2,
        batch_size=128,
        seed=0,
    )
    assert (gain > 0.1).all()
    flow, plain = ClassDensity(gaussian, couplings), ClassDensity(gaussian)
    every = test[:, None].expand(-1, 2, -1)

    def own(density: ClassDensity) -> torch.Tensor:
        with torch.no_grad():
            return density.log_prob(every).gather(1, test_c[:, None])[:, 0]

    assert own(flow).mean() > own(plain).mean() + 0.1
    # Unknown: what lies between the moons and around them.
    box = rng.uniform((-2, -2), (3, 2.5), (1000, 2))
    unknown = torch.from_numpy(box).float()[:, None].expand(-1, 2, -1)
    truth = [0] * 1000 + [1] * 1000

    def auroc(density: ClassDensity) -> float:
        with torch.no_grad():
            scores = -torch.cat([density.log_prob(every), density.log_prob(unknown)]).amax(1)
        return float(roc_auc_score(truth, scores))

    assert auroc(flow) > auroc(plain) + 0.05


def test_classes_keep_their_best_state_and_need_held_out_vectors():
    random = generator()
    x = torch.randn(400, 4, generator=random)
    x[::4] = x[::4] ** 3  # class 0 is not Gaussian
    c = torch.arange(400) % 4
    valid_c = torch.arange(90) % 3  # class 3 has nothing to be validated on
    valid = torch.randn(90, 4, generator=random)
    valid[valid_c == 0] **= 3
    couplings = ClassCouplings(4, 4, 4, 8, generator())
    before = ClassDensity(TiedGaussian(), couplings)
    table, sizes = by_class(valid, valid_c, 4)

    def held_out(k: int) -> float:
        with torch.no_grad():
            z, log_det = before.couplings(table)
        return (0.5 * (z * z).sum(-1) - log_det)[: sizes[k], k].mean().item()

    start = [held_out(k) for k in range(3)]
    gain = train_couplings(
        couplings,
        by_class(x, c, 4),
        (table, sizes),
        steps=120,
        learning_rate=1e-2,
        batch_size=32,
        seed=0,
    )
    for k in range(3):
        assert held_out(k) == pytest.approx(start[k] - gain[k].item(), abs=1e-4)
    assert gain[0] > 0.2
    assert (gain >= 0).all()
    assert gain[3] == 0
    for coupling in couplings.couplings:
        assert (coupling.shift.last.weight[3] == 0).all()


def test_training_is_reproducible():
    x, c = moons(np.random.default_rng(0), 200)
    table = by_class(x, c, 2)
    states = []
    for _ in range(2):
        couplings = ClassCouplings(2, 2, 2, 4, generator())
        train_couplings(couplings, table, table, 20, 1e-2, 16, 0)
        states.append(couplings.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_vectors_are_sorted_by_class(classes):
    c = torch.tensor(classes)
    x = torch.arange(1, len(c) + 1).float()[:, None].expand(-1, 2)
    table, sizes = by_class(x, c, 4)
    for k in range(4):
        assert sizes[k] == classes.count(k)
        assert torch.equal(table[: sizes[k], k], x[c == k])
        assert (table[sizes[k] :, k] == 0).all()


# Detector

QUICK = {'couplings': 4, 'hidden': 8, 'steps': 60, 'learning_rate': 5e-3}


@pytest.fixture(scope='module')
def watched():
    return watched_network()


def auroc(normal: torch.Tensor, unknown: torch.Tensor) -> float:
    truth = [0] * len(normal) + [1] * len(unknown)
    return float(roc_auc_score(truth, torch.cat([normal, unknown])))


def test_untrained_detector_is_the_mahalanobis_detector(watched):
    images = some_images(unknown=True)
    flow = ResidualFlow(**{**QUICK, 'steps': 0}).fit(watched, normal_frames(16))
    plain = Mahalanobis().fit(watched, normal_frames(16))
    torch.testing.assert_close(
        flow.layer_scores(watched, images),
        plain.layer_scores(watched, images),
        atol=1e-5,
        rtol=1e-5,
    )
    torch.testing.assert_close(
        flow.score_frame(watched, images),
        plain.score_frame(watched, images),
        atol=1e-4,
        rtol=1e-4,
    )


def test_unknown_frames_score_higher(watched):
    detector = ResidualFlow(**QUICK).fit(watched, normal_frames(32))
    with torch.inference_mode():
        normal = detector.score_frame(watched, some_images(unknown=False, count=16))
        unknown = detector.score_frame(watched, some_images(unknown=True, count=16))
    assert normal.shape == (16,)
    assert auroc(normal, unknown) > 0.95
    assert not any(p.requires_grad for p in detector.parameters())


def test_a_classifier_is_scored_by_its_most_likely_class():
    classifier = watched_network(classify=True)
    detector = ResidualFlow(**QUICK).fit(classifier, solid_frames(48))
    normal, unknown = (
        torch.from_numpy(np.stack(solid_frames(16, 1, kind).images)) for kind in (False, True)
    )
    scores = detector.layer_scores(classifier, normal)
    assert scores.shape == (16, 2)
    vectors = classifier.features(normal)[1]['late'].mean((2, 3))
    log_prob = detector.densities[1].log_prob(vectors[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(scores[:, 1], -log_prob.max(1).values)
    frame_scores = [detector.score_frame(classifier, images) for images in (normal, unknown)]
    assert auroc(*frame_scores) > 0.95
