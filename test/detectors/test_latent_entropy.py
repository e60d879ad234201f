"""Entropy of latent channels, its density, and the detectors LaREM and LaRED."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import digamma
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity, NearestNeighbors
from torch import Tensor, nn

from offline_training.data.frames import Frames
from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.larex.latent_density import LaRED, LaREM, LatentDensity
from offline_training.detectors.larex.latent_entropy import (
    MIN_DISTANCE,
    knn_entropy,
    mask_weights,
    masked_means,
    merge_exchange,
    sort_first,
)
from offline_training.learning.store import StorageError
from offline_training.segmentation.backbones.dropblock import drop_block
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize

HEIGHT, WIDTH = 48, 64
both = pytest.mark.parametrize('kind', [LaREM, LaRED])


class TinyNetwork(nn.Module):
    """Random convolutions; taps of 12x16 cells, the second with more channels, and a fine one."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.fine = nn.Conv2d(3, 24, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(24, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 3, 1)
        for conv in (self.fine, self.deep, self.wide, self.head):
            nn.init.kaiming_normal_(conv.weight, generator=generator)
            nn.init.zeros_(conv.bias)

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        fine = self.fine(x).relu()
        deep = self.norm(self.deep(fine)).relu()
        wide = self.wide(deep).relu()
        logits = nn.functional.interpolate(self.head(wide), scale_factor=4.0)
        return logits, {'fine': fine, 'wide': wide, 'deep': deep}


def watched_network() -> Watched:
    normalize = Normalize(InputConfig(mean=(110, 110, 110), std=(60, 60, 60)))
    return Watched(TinyNetwork(), normalize, 3)


def scene(seed: int) -> np.ndarray:
    """Sky above ground, with boxes and a little noise: float (H, W, 3)."""
    rng = np.random.default_rng(seed)
    image = np.empty((HEIGHT, WIDTH, 3))
    horizon = rng.integers(14, 22)
    image[:horizon] = [150, 180, 220]
    image[horizon:] = [90, 90, 80]
    for _ in range(6):
        row, column = rng.integers(8, HEIGHT - 12), rng.integers(0, WIDTH - 12)
        box = image[row : row + rng.integers(6, 12), column : column + rng.integers(6, 12)]
        box[:] = rng.uniform(20, 230, 3)
    return image * rng.uniform(0.9, 1.1) + rng.normal(0, 4, image.shape)


def bytes_of(images: list[np.ndarray]) -> list[np.ndarray]:
    return [image.clip(0, 255).astype(np.uint8) for image in images]


def fogged(image: np.ndarray) -> np.ndarray:
    return 0.45 * image + 0.55 * 200


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    return image + np.random.default_rng(seed).normal(0, 60, image.shape)


def soiled(image: np.ndarray, seed: int) -> np.ndarray:
    blots = np.random.default_rng(seed).normal(0, 90, (HEIGHT // 8, WIDTH // 8, 1))
    return image + blots.repeat(8, axis=0).repeat(8, axis=1)


def as_tensor(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(bytes_of(images)))


WATCHED = watched_network()
TRAIN = Frames(
    bytes_of([scene(seed) for seed in range(64)]), [np.zeros((HEIGHT, WIDTH), np.uint8)] * 64
)
CLEAN = as_tensor([scene(1000 + seed) for seed in range(24)])
FOG = as_tensor([fogged(scene(2000 + seed)) for seed in range(24)])
NOISE = as_tensor([noisy(scene(3000 + seed), seed) for seed in range(24)])
SOIL = as_tensor([soiled(scene(4000 + seed), seed) for seed in range(24)])


def fitted(kind: type[LatentDensity], **others) -> LatentDensity:
    return kind(**{'block_size': 4, **others}).fit(WATCHED, TRAIN).eval()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive_entropy(samples: np.ndarray, neighbors: int) -> float:
    """Kozachenko-Leonenko of one column, with scikit-learn's neighbours and scipy's digamma."""
    count = len(samples)
    k = neighbors if count > neighbors else count - 1
    column = samples.astype(np.float64)[:, None]
    search = NearestNeighbors(n_neighbors=k + 1, metric='chebyshev').fit(column)
    distance = search.kneighbors(column)[0][:, k]  # the first is the sample itself
    distance = np.maximum(distance, MIN_DISTANCE)
    return float(digamma(count) - digamma(k) + np.log(2 * distance).mean())


# The entropy


@given(st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_the_network_sorts_and_its_steps_are_parallel(count):
    x = normal(count, 3, seed=count)
    x[: count // 2] = x[: count // 2].round()  # ties
    assert torch.equal(sort_first(x), x.sort(dim=0).values)
    for pairs in merge_exchange(count):
        touched = [index for pair in pairs for index in pair]
        assert len(set(touched)) == len(touched)
        assert all(0 <= lower < upper < count for lower, upper in pairs)


def test_sixteen_samples_take_ten_steps():
    assert len(merge_exchange(16)) == 10
    assert sum(map(len, merge_exchange(16))) == 63


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(2, 18), st.just(3)),
        elements=st.floats(
            -4,
            4,
            width=32,
        ),
    ),
    st.integers(1, 8),
)
@settings(max_examples=30, deadline=None)
def test_entropy_is_that_of_scikit_learns_neighbours(samples, neighbors):
    actual = knn_entropy(torch.from_numpy(samples).double(), neighbors)
    expected = [naive_entropy(column, neighbors) for column in samples.T]
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_entropy_of_all_channels_and_frames_at_once():
    samples = normal(16, 3, 5)
    actual = knn_entropy(samples)
    assert actual.shape == (3, 5)
    for b in range(3):
        for c in range(5):
            expected = naive_entropy(samples[:, b, c].numpy(), 5)
            assert actual[b, c].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('scale', [0.3, 1.0, 20.0])
def test_entropy_of_known_distributions(scale):
    generator = torch.Generator().manual_seed(2)
    uniform = scale * torch.rand(1000, 20, generator=generator)
    gaussian = scale * torch.randn(1000, 20, generator=generator)
    known = 0.5 * math.log(2 * math.pi * math.e) + math.log(scale)
    assert knn_entropy(uniform).mean().item() == pytest.approx(math.log(scale), abs=0.04)
    assert knn_entropy(gaussian).mean().item() == pytest.approx(known, abs=0.04)


@given(st.floats(0.1, 50), st.booleans(), st.floats(-5, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_scale_adds_its_logarithm_and_shift_and_order_add_nothing(size, mirrored, shift, seed):
    x = normal(12, 4, seed=seed).double()
    moved = (-size if mirrored else size) * x + shift
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    # Where the least distance is at work, the law does not hold.
    separate = (x.sort(dim=0).values.diff(dim=0) > 10 * MIN_DISTANCE).all(dim=0)
    difference = knn_entropy(moved[order]) - knn_entropy(x)
    assert torch.allclose(difference[separate], torch.tensor(math.log(size)).double(), atol=1e-6)


def test_equal_samples_have_the_least_entropy_and_it_is_finite():
    least = digamma(16) - digamma(5) + math.log(2 * MIN_DISTANCE)
    assert knn_entropy(torch.full((16, 2), 3.0)).tolist() == pytest.approx([least] * 2, abs=1e-5)
    assert (knn_entropy(normal(16, 2)) > least).all()


def test_what_is_not_a_number_stays_so():
    x = normal(16, 2)
    x[3, 1] = math.nan
    assert knn_entropy(x).isnan().tolist() == [False, True]


@pytest.mark.parametrize(('count', 'neighbors'), [(1, 5), (8, 0)])
def test_entropy_needs_samples_and_neighbours(count, neighbors):
    with pytest.raises(ValueError, match='samples'):
        knn_entropy(torch.zeros(count, 2), neighbors)


# The sampler


@given(st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_masked_means_are_means_after_drop_block(block, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = mask_weights((8, 9), 6, block, 0.5, generator)
    tap = normal(2, 5, 8, 9, seed=seed)
    actual = masked_means(tap, weights)
    for m in range(6):
        mask = (weights[m] > 0).float()[None, None]
        expected = drop_block(tap, mask.expand(2, 1, 8, 9)).mean(dim=(2, 3))
        assert torch.allclose(actual[m], expected, atol=1e-5)


def test_masks_come_from_the_generator_and_never_drop_all():
    state = torch.get_rng_state()
    draws = [
        mask_weights((2, 2), 200, 1, 0.9, torch.Generator().manual_seed(seed))
        for seed in (4, 4, 5)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.allclose(draws[0].sum(dim=(1, 2)), torch.ones(200))


# The detectors


def naive_features(detector: LatentDensity, images: Tensor) -> np.ndarray:
    """Entropies (N, C) with loops over masks, frames and channels."""
    _, taps = WATCHED.features(images)
    tap = taps['wide'].detach()
    masks = (detector.weights > 0).float()
    samples = np.stack(
        [
            drop_block(tap, mask.expand(len(tap), 1, -1, -1)).mean(dim=(2, 3)).numpy()
            for mask in masks
        ]
    )
    return np.array(
        [
            [naive_entropy(samples[:, b, c], 5) for c in range(samples.shape[2])]
            for b in range(samples.shape[1])
        ]
    )


def test_larem_is_scikit_learns_distance_after_its_pca():
    frames = TRAIN.subset(range(24))
    detector = LaREM(block_size=4, components=5).fit(WATCHED, frames)
    train = naive_features(detector, torch.from_numpy(np.stack(frames.images)))
    pca = PCA(5, svd_solver='full', whiten=True).fit(train)
    covariance = EmpiricalCovariance().fit(pca.transform(train))
    images = torch.cat([CLEAN[:4], FOG[:4]])
    expected = covariance.mahalanobis(pca.transform(naive_features(detector, images)))
    np.testing.assert_allclose(detector.score_frame(WATCHED, images), expected, rtol=2e-3)


def test_larem_without_pca_is_the_plain_mahalanobis_distance():
    detector = fitted(LaREM, components=None, feature='mean')
    train = pooled(torch.from_numpy(np.stack(TRAIN.images)))
    covariance = EmpiricalCovariance().fit(train)
    expected = covariance.mahalanobis(pooled(FOG))
    np.testing.assert_allclose(detector.score_frame(WATCHED, FOG), expected, rtol=2e-3)


def pooled(images: Tensor) -> np.ndarray:
    return WATCHED.features(images)[1]['wide'].mean(dim=(2, 3)).double().numpy()


@pytest.mark.parametrize(('whiten', 'bandwidth'), [(True, 1.0), (True, 0.4), (False, 0.7)])
def test_lared_is_scikit_learns_kernel_density(whiten, bandwidth):
    detector = fitted(LaRED, components=5, feature='mean', whiten=whiten, bandwidth=bandwidth)
    train = pooled(torch.from_numpy(np.stack(TRAIN.images)))
    pca = PCA(5, svd_solver='full', whiten=whiten).fit(train)
    density = KernelDensity(bandwidth=bandwidth).fit(pca.transform(train))
    images = torch.cat([CLEAN[:6], FOG[:6], NOISE[:6]])
    expected = -density.score_samples(pca.transform(pooled(images)))
    np.testing.assert_allclose(
        detector.score_frame(WATCHED, images), expected, rtol=1e-3, atol=1e-3
    )


@both
@pytest.mark.parametrize(
    ('feature', 'strange'),
    # Noise from pixel to pixel averages out in the means over large blocks: entropy of these
    # random convolutions hardly sees it.
    [('entropy', FOG), ('entropy', SOIL), ('mean', FOG), ('mean', SOIL), ('mean', NOISE)],
    ids=['entropy-fog', 'entropy-soil', 'mean-fog', 'mean-soil', 'mean-noise'],
)
def test_strange_frames_score_higher_than_clean_ones(kind, feature, strange):
    detector = fitted(kind, feature=feature)
    scores = detector.score_frame(WATCHED, torch.cat([CLEAN, strange]))
    assert roc_auc_score([0] * len(CLEAN) + [1] * len(strange), scores) > 0.95


@both
def test_saved_and_loaded_scores_are_equal(kind, tmp_path):
    detector = fitted(kind, components=4)
    detector.save(tmp_path / 'file')
    loaded = kind.load(tmp_path / 'file')
    assert loaded.settings == detector.settings
    assert torch.equal(loaded.score_frame(WATCHED, FOG), detector.score_frame(WATCHED, FOG))
    other = LaRED if kind is LaREM else LaREM
    with pytest.raises(StorageError, match='load it with that one'):
        other.load(tmp_path / 'file')


@both
def test_the_watched_network_stays_as_it_was(kind):
    watched = watched_network()
    before = {key: value.clone() for key, value in watched.state_dict().items()}
    detector = kind(block_size=4).fit(watched, TRAIN)
    detector.train().score_frame(watched, CLEAN)
    assert not any(module.training for module in watched.modules())
    assert all(torch.equal(before[key], value) for key, value in watched.state_dict().items())
    assert all(parameter.grad is None for parameter in watched.parameters())


@both
def test_a_score_depends_on_neither_batch_nor_global_randomness(kind):
    detector = fitted(kind)
    together = detector.score_frame(WATCHED, FOG)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    alone = torch.cat([detector.score_frame(WATCHED, image[None]) for image in FOG])
    assert torch.equal(state, torch.get_rng_state())
    assert torch.allclose(alone, together, rtol=1e-3)
    again = fitted(kind, batch_size=5)
    assert torch.allclose(again.score_frame(WATCHED, FOG), together, rtol=1e-2)
    assert not torch.equal(fitted(kind, seed=1).weights, detector.weights)


def test_the_default_tap_is_the_coarsest_with_most_channels():
    detector = fitted(LaREM, components=None)
    assert detector.center.shape == (16,)
    assert fitted(LaREM, tap='deep').center.shape == (8,)
    with pytest.raises(NotApplicableError, match="no tap 'depe' but fine"):
        fitted(LaREM, tap='depe')


def test_few_frames_keep_few_directions():
    frames = TRAIN.subset(range(12))
    assert LaREM(block_size=4).fit(WATCHED, frames).axes.shape == (16, 3)
    assert LaREM(block_size=4, components=2).fit(WATCHED, frames).axes.shape == (16, 2)
    assert LaREM(block_size=4, components=None).fit(WATCHED, frames).axes.shape == (16, 11)


def test_what_cannot_be_fitted_or_scored_says_why():
    with pytest.raises(ValueError, match='frames are too few'):
        LaREM(block_size=4).fit(WATCHED, TRAIN.subset(range(3)))
    with pytest.raises(ValueError, match='do not differ'):
        LaREM(block_size=4).fit(WATCHED, TRAIN.subset([0] * 5))
    with pytest.raises(NotApplicableError, match='block_size 8 for a tap of 12x16'):
        LaREM().fit(WATCHED, TRAIN)
    with pytest.raises(RuntimeError, match='larem has not been fitted'):
        LaREM().score_frame(WATCHED, CLEAN)
    with pytest.raises(TypeError, match='score_frame'):
        fitted(LaRED).score_map(WATCHED, CLEAN)
    with pytest.raises(ValueError, match=r'masks of \(12, 16\) for a tap of \(8, 16\)'):
        fitted(LaRED).score_frame(WATCHED, CLEAN[:, :32])


@pytest.mark.parametrize(
    'wrong',
    [
        {'feature': 'median'},
        {'samples': 1},
        {'block_size': 0},
        {'drop_prob': 0.0},
        {'drop_prob': 1.0},
        {'neighbors': 0},
        {'components': 0},
        {'batch_size': 0},
        {'bandwidth': 0.0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LaRED(**wrong)
