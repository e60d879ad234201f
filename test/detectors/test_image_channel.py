"""The image channel: its statistics against scikit-learn, and what it calls unusual."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from offline_training.detectors.image_channel.image_channel import SEEN_KINDS, ImageChannel
from offline_training.detectors.image_channel.image_statistics import (
    CLIP,
    NAMES,
    PENALTY,
    ImageStatistics,
    TapFeatures,
    deepest,
    tap_features,
)
from offline_training.perturbations import PERTURBATIONS


def drawn(seed: int, count: int, shift: float = 0.0) -> TapFeatures:
    """Return correlated moments and unit layouts of `count` frames."""
    torch.manual_seed(0)
    mix = torch.randn(12, 12)
    torch.manual_seed(seed)
    layouts = torch.randn(count, 8) * 0.2 + torch.arange(8.0) + shift
    return TapFeatures(
        torch.randn(count, 12) @ mix + 3 + shift,
        layouts / layouts.norm(dim=1, keepdim=True),
    )


def test_moments_are_those_of_every_channel() -> None:
    torch.manual_seed(1)
    tap = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    moments, layouts = tap_features(tap)
    thin = tap[:, :, ::2, ::2].numpy()
    np.testing.assert_allclose(moments[:, :3], thin.mean(axis=(2, 3)), rtol=1e-6)
    expected = np.log(thin.std(axis=(2, 3)) + 1e-3)
    np.testing.assert_allclose(moments[:, 3:], expected, rtol=1e-6)
    assert layouts.shape == (2, 3 * 16)
    np.testing.assert_allclose(layouts.norm(dim=1), 1.0, rtol=1e-6)


def test_the_deepest_tap_is_the_last_of_the_coarsest() -> None:
    sizes = {'level2': 16, 'level3': 8, 'level4': 8, 'decoder': 32}
    taps = {name: torch.zeros(1, 3, size, size) for name, size in sizes.items()}
    assert deepest(taps) == 'level4'


def test_the_layout_follows_a_flip_and_the_moments_do_not() -> None:
    torch.manual_seed(1)
    tap = torch.randn(1, 3, 16, 16).cumsum(dim=2)
    flipped = tap.flip(2)
    # The thinned cells are others after a flip of an even number of rows.
    one, other = tap_features(tap[:, :, :15]), tap_features(flipped[:, :, 1:])
    np.testing.assert_allclose(one.moments, other.moments, rtol=1e-4)
    assert float(one.layouts @ other.layouts.T) < 0.5


def test_the_distance_is_that_of_scikit_learn() -> None:
    normal = drawn(1, 200)
    found = ImageStatistics.of(normal, drawn(2, 100, 2.0), 5)
    moments = normal.moments.double().numpy()
    center, scale = moments.mean(axis=0), moments.std(axis=0, ddof=1)
    standard = (moments - center) / scale
    pca = PCA(5).fit(standard)
    gaussian = OAS(assume_centered=True).fit(pca.transform(standard))
    other = (drawn(3, 30).moments.numpy() - center) / scale
    expected = np.sqrt(gaussian.mahalanobis(pca.transform(other)) / 5)
    np.testing.assert_allclose(found(drawn(3, 30))[:, 0], expected, rtol=2e-3)


def test_the_quality_is_that_of_scikit_learn() -> None:
    normal, degraded = drawn(1, 200), drawn(2, 100, 2.0)
    found = ImageStatistics.of(normal, degraded, 5)
    moments = normal.moments.numpy()
    center, scale = moments.mean(axis=0), moments.std(axis=0, ddof=1)
    both = np.concatenate([moments, degraded.moments.numpy()])
    values = np.clip((both - center) / scale, -CLIP, CLIP)
    model = LogisticRegression(C=PENALTY, max_iter=1000, class_weight='balanced')
    model.fit(values, np.arange(300) >= 200)
    expected = model.decision_function(values)
    given = TapFeatures(torch.from_numpy(both), torch.cat([normal.layouts, degraded.layouts]))
    np.testing.assert_allclose(found(given)[:, 1], expected, atol=2e-3)


def test_every_statistic_is_higher_for_what_is_unusual() -> None:
    normal = drawn(1, 200)
    found = ImageStatistics.of(normal, drawn(2, 100, 2.0), 5)
    upside_down = drawn(4, 50, 20.0)
    upside_down = upside_down._replace(layouts=upside_down.layouts.flip(1))
    usual, unusual = found(drawn(3, 50)), found(upside_down)
    for index in range(len(NAMES)):
        assert unusual[:, index].median() > usual[:, index].max()


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match='give 3 or more'):
        ImageStatistics.of(drawn(1, 2), drawn(2, 2), 5)


def test_trained_parts_see_seven_kinds_and_eight_are_kept_to_measure_with() -> None:
    assert set(SEEN_KINDS) < set(PERTURBATIONS)
    assert (len(SEEN_KINDS), len(PERTURBATIONS)) == (7, 15)
    assert not {'fog', 'frost', 'vertical_flip', 'salt_noise'} & set(SEEN_KINDS)


def test_degraded_copies_name_their_frames() -> None:
    channel = ImageChannel(degraded_frames=4)
    assert channel.degraded_indices(100) == [
        index for index in (0, 33, 66, 99) for _ in SEEN_KINDS
    ]
    assert channel.degraded_indices(2) == [index for index in (0, 1) for _ in SEEN_KINDS]
