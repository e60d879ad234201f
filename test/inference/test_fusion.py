from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_ood_monitor.bundle.manifest import FusedMap, Fusion
from ros2_ood_monitor.inference.fusion import (
    conformal_score,
    frame_score,
    frame_statistic,
    fused_logits,
    probability,
    single_maps,
    tail_scale,
)
from ros2_ood_monitor.inference.regions import find_regions

FUSION = Fusion(
    (
        FusedMap('energy', 'energy', 0, mean=1.0, std=2.0, weight=0.5),
        FusedMap('density', 'density', 0, mean=-2.0, std=0.5, weight=3.0),
    ),
    bias=-1.0,
)


def maps(energy: float, density: float) -> dict[str, np.ndarray]:
    return {
        'energy': np.full((3, 5), energy, np.float32),
        'density': np.full((3, 5), density, np.float32),
    }


def test_fused_logit_is_bias_plus_weighted_standard_scores() -> None:
    # -1 + 0.5 * (5 - 1) / 2 + 3 * (-1.5 + 2) / 0.5
    fused = fused_logits(maps(5.0, -1.5), FUSION)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, np.full((3, 5), 3.0), rtol=1e-6)


def test_standard_scores_are_clipped_at_ten() -> None:
    fused = fused_logits(maps(1.0, 1e30), FUSION)
    np.testing.assert_allclose(fused, -1.0 + 3.0 * 10.0, rtol=1e-6)


def test_nan_stays_nan_and_the_maps_are_not_changed() -> None:
    given_maps = maps(1.0, -2.0)
    given_maps['density'][1, 2] = np.nan
    fused = fused_logits(given_maps, FUSION)
    assert np.flatnonzero(np.isnan(fused)).tolist() == [7]
    assert given_maps['energy'][0, 0] == 1.0


def test_single_maps_split_the_observer_and_own_their_memory() -> None:
    observer = np.arange(2 * 6, dtype=np.float32).reshape(1, 2, 2, 3)
    energy = np.ones((1, 1, 2, 3), np.float32)
    sources = (('energy', 'energy', 0), ('unknown', 'observer', 0), ('error', 'observer', 1))
    maps = [FusedMap(*source, 0.0, 1.0, 1.0) for source in sources]
    single = single_maps({'observer': observer, 'energy': energy}, maps)
    observer[:] = -1
    assert list(single) == ['energy', 'unknown', 'error']
    np.testing.assert_array_equal(single['unknown'], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(single['error'], [[6, 7, 8], [9, 10, 11]])


@given(st.floats(-1e4, 1e4, width=32))
def test_probability_is_the_logistic_function(logit: float) -> None:
    value = float(probability(np.array([logit], np.float32))[0])
    exact = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    assert value == pytest.approx(exact, abs=1e-6)


def test_statistic_is_the_mean_of_the_highest_fraction() -> None:
    logits = np.random.default_rng(1).permutation(200).astype(np.float32).reshape(10, 20)
    assert frame_statistic(logits, 0.05) == np.mean(range(190, 200))
    assert frame_statistic(logits, 1e-6) == 199
    assert frame_statistic(logits, 1.0) == np.mean(range(200))


def test_conformal_score_counts_reference_frames_at_least_as_anomalous() -> None:
    reference = [1.0, 2.0, 2.0, 3.0]
    assert conformal_score(0.0, reference) == 0.0
    assert math.copysign(1, conformal_score(0.0, reference)) == 1
    assert conformal_score(2.0, reference) == pytest.approx(-math.log10(4 / 5))
    assert conformal_score(2.5, reference) == pytest.approx(-math.log10(2 / 5))
    assert conformal_score(9.0, reference) == pytest.approx(-math.log10(1 / 5))


def test_conformal_p_values_of_normal_frames_are_not_too_small() -> None:
    rng = np.random.default_rng(3)
    reference = np.sort(rng.normal(size=999))
    scores = [conformal_score(value, reference) for value in rng.normal(size=5000)]
    assert np.mean(np.array(scores) >= 1.0) == pytest.approx(0.1, abs=0.02)


def test_frame_score_continues_beyond_the_sample() -> None:
    reference = np.sort(np.random.default_rng(4).exponential(2.0, 9999))
    scale = tail_scale(reference)
    assert scale == pytest.approx(2.0, rel=0.3)
    inside, last = float(reference[5000]), float(reference[-1])
    assert frame_score(inside, reference, scale) == conformal_score(inside, reference)
    beyond = frame_score(last + scale * math.log(10), reference, scale)
    assert beyond == pytest.approx(4.0 + 1.0)
    assert frame_score(1e9, reference, scale) == pytest.approx(8.0)
    assert frame_score(math.inf, reference, scale) == pytest.approx(8.0)


def test_a_small_sample_has_no_tail() -> None:
    reference = [1.0, 2.0, 3.0]
    assert frame_score(99.0, reference, tail_scale(reference)) == conformal_score(99.0, reference)
    assert frame_score(99.0, [], tail_scale([])) == 0.0


def test_regions_have_boxes_in_camera_pixels() -> None:
    anomaly = np.zeros((12, 16), np.float32)
    anomaly[2:5, 4:10] = 0.6
    anomaly[3, 5] = 0.9
    (region,) = find_regions(anomaly, 0.5, 4, scale_x=10.0, scale_y=20.0)
    assert (region.x, region.y, region.width, region.height) == (40, 40, 60, 60)
    assert region.area == 18 * 10 * 20
    assert region.peak == pytest.approx(0.9)
    assert region.mean == pytest.approx((17 * 0.6 + 0.9) / 18)


def test_small_regions_are_dropped_and_the_largest_comes_first() -> None:
    anomaly = np.zeros((12, 16), np.float32)
    anomaly[0, 0:3] = 0.7  # below min_area
    anomaly[4:6, 0:3] = 0.8
    anomaly[8:11, 8:12] = 0.5  # exactly the threshold counts
    regions = find_regions(anomaly, 0.5, 4, 1.0, 1.0)
    assert [region.area for region in regions] == [12, 6]


def test_touching_corners_are_one_region() -> None:
    anomaly = np.kron(np.eye(3), np.ones((2, 2))).astype(np.float32)
    assert len(find_regions(anomaly, 0.5, 1, 1.0, 1.0)) == 1


def test_statistics_of_a_region_ignore_its_neighbour_inside_the_box() -> None:
    anomaly = np.zeros((9, 9), np.float32)
    anomaly[0, :] = anomaly[:, 0] = 0.6  # an L whose box covers everything
    anomaly[4:7, 4:7] = 1.0
    ell, square = find_regions(anomaly, 0.5, 1, 1.0, 1.0)
    assert ell.peak == pytest.approx(0.6)
    assert square.mean == 1.0


def test_nothing_above_the_threshold_gives_no_regions() -> None:
    assert find_regions(np.full((4, 4), np.nan, np.float32), 0.5, 1, 1.0, 1.0) == ()
