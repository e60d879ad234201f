"""Classifiers of flow outputs against naive and public implementations."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.stats import hmean
from sklearn.covariance import LedoitWolf

from offline_training.detectors.daain.classifiers import (
    BINS,
    HBOS,
    PSEUDO_COUNT,
    build_classifier,
)

KINDS = ('hbos', 'mahalanobis', 'euclidean', 'harmonic')


def latent(count: int = 60, dimensions: int = 7, seed: int = 0) -> np.ndarray:
    """Correlated, and with another mean in every dimension."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions))
    return rng.normal(size=(count, dimensions)) @ mixing + np.arange(dimensions)


def fitted(kind: str, z: np.ndarray):
    classifier = build_classifier(kind, z.shape[1])
    classifier.fit(torch.from_numpy(z).float())
    return classifier


@pytest.mark.parametrize(('frames', 'bins'), [(30, 5), (200, 14), (3000, BINS)])
def test_hbos_is_a_naive_histogram(frames, bins):
    z, other = latent(frames), latent(50, seed=1) * 1.3
    scores = fitted('hbos', z)(torch.from_numpy(other).float()).numpy()
    expected = np.zeros(len(other))
    for column in range(z.shape[1]):
        low, high = z[:, column].min(), z[:, column].max()
        width = (high - low) / (bins - 1)
        counts, edges = np.histogram(
            z[:, column], bins=bins, range=(low - width / 2, high + width / 2)
        )
        for row, value in enumerate(other[:, column]):
            inside = edges[0] <= value < edges[-1]
            found = counts[np.searchsorted(edges, value, 'right') - 1] if inside else 0
            height = (found + PSEUDO_COUNT) / (counts.max() + PSEUDO_COUNT)
            expected[row] += np.log(1 / height) / z.shape[1]
    # A value on an edge may fall to either side in single precision.
    assert np.median(np.abs(scores - expected)) < 1e-5
    assert np.mean(np.abs(scores - expected) > 1e-4) < 0.1


def test_hbos_is_highest_outside_and_for_what_is_no_number():
    classifier = fitted('hbos', latent())
    worst = classifier(torch.full((1, 7), 1e9)).item()
    inside = torch.from_numpy(latent()).float()
    assert classifier(inside).max() < worst
    for value in (np.inf, -np.inf, np.nan, 1e30, -1e30):
        z = torch.full((2, 7), value)
        assert classifier(z).tolist() == pytest.approx([worst, worst])
    # The extremes of the training are not outside.
    assert classifier(inside.amax(0)[None]) < worst
    assert classifier(inside.amin(0)[None]) < worst


def test_hbos_of_a_constant_dimension_is_finite():
    classifier = HBOS(2)
    classifier.fit(torch.zeros(20, 2))
    assert torch.isfinite(classifier(torch.tensor([[0.0, 0.0], [5.0, 0.0]]))).all()
    assert classifier(torch.tensor([[5.0, 0.0]])) > classifier(torch.zeros(1, 2))


@pytest.mark.parametrize('count', [12, 60, 500])
def test_mahalanobis_is_that_of_a_shrunk_covariance_about_the_mean_vector(count):
    z, other = latent(count), latent(20, seed=1)
    reference = LedoitWolf().fit(z)
    expected = [mahalanobis(row, z.mean(axis=0), reference.precision_) ** 2 / 7 for row in other]
    scores = fitted('mahalanobis', z)(torch.from_numpy(other).float())
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-3)


def test_mahalanobis_of_frames_that_do_not_differ_is_finite():
    scores = fitted('mahalanobis', np.ones((20, 7)))(torch.zeros(1, 7))
    assert torch.isfinite(scores).all()


def test_mahalanobis_with_fewer_frames_than_dimensions():
    z = latent(10, 40)
    scores = fitted('mahalanobis', z)(torch.from_numpy(latent(30, 40, seed=2)).float())
    assert torch.isfinite(scores).all()


def test_euclidean_and_harmonic_means():
    z = np.random.default_rng(0).normal(size=(30, 9))
    tensor = torch.from_numpy(z).float()
    np.testing.assert_allclose(fitted('euclidean', z)(tensor), (z**2).mean(1), rtol=1e-5)
    expected = hmean(np.maximum(z**2, 1e-6), axis=1)
    np.testing.assert_allclose(fitted('harmonic', z)(tensor), expected, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_far_from_the_normal_is_higher(kind):
    rng = np.random.default_rng(0)
    normal, near = rng.normal(size=(200, 30)), rng.normal(size=(50, 30))
    classifier = fitted(kind, normal)
    far = classifier(torch.from_numpy(near * 4).float())
    assert far.median() > classifier(torch.from_numpy(near).float()).quantile(0.9)


@pytest.mark.parametrize('kind', KINDS)
def test_what_was_learnt_is_in_the_state(kind):
    classifier = fitted(kind, latent())
    copy = build_classifier(kind, 7)
    copy.load_state_dict(classifier.state_dict())
    z = torch.from_numpy(latent(9, seed=3)).float()
    assert torch.equal(copy(z), classifier(z))
