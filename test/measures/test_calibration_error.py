"""Calibration errors against plain loops and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline_training.measures.calibration_error import ReliabilityDiagram


def filled(uncertainty, correct, group=None, **options):
    error = ReliabilityDiagram(**options)
    error.update(uncertainty, correct, group)
    return error


def naive_ece(confidence, correct, bins=15):
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if b == 0:
            inside |= confidence == 0
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


def naive_ace(confidence, correct, group, ranges=15):
    errors = []
    for k in np.unique(group):
        order = np.argsort(confidence[group == k])
        parts = zip(
            np.array_split(confidence[group == k][order], ranges),
            np.array_split(correct[group == k][order], ranges),
            strict=True,
        )
        errors += [abs(c.mean() - a.mean()) for c, a in parts]
    return np.mean(errors)


def over_and_under_confident(size=30_000, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 0.7, size)
    correct = rng.random(size) < 0.25 + 0.5 * confidence
    return confidence, correct, rng.integers(0, 3, size)


def test_ece_is_that_of_a_plain_loop():
    confidence, correct, _ = over_and_under_confident()
    got = filled(1 - confidence, correct).ece()
    assert got == pytest.approx(naive_ece(confidence, correct), abs=1e-9)


def test_groups_may_be_bytes_as_labels_are():
    confidence, correct, group = over_and_under_confident(3000)
    wide = filled(1 - confidence, correct, group, groups=3)
    narrow = filled(1 - confidence, correct, group.astype(np.uint8), groups=3)
    assert narrow.ace() == wide.ace()


def test_ece_agrees_with_torchmetrics():
    # binary_calibration_error(c, correct, n_bins=15, norm='l1') of torchmetrics 1.9.0 on these
    # vectors in float64 gave the number below.
    i = np.arange(1, 2001)
    confidence = (i * 0.6180339887498949) % 1
    correct = (i * 0.7548776662466927) % 1 < 0.25 + 0.5 * confidence
    assert filled(1 - confidence, correct).ece() == pytest.approx(0.12435632, abs=1e-7)


def test_ace_is_that_of_a_plain_loop():
    confidence, correct, group = over_and_under_confident()
    got = filled(1 - confidence, correct, group, groups=3).ace()
    assert got == pytest.approx(naive_ace(confidence, correct, group), abs=2e-4)


def test_ace_of_confidences_near_one_keeps_its_resolution():
    rng = np.random.default_rng(1)
    uncertainty = 10.0 ** rng.uniform(-6, -3, 15_000)
    # Right at the very top, mostly wrong just below it: no equal-width bin could tell.
    correct = rng.random(15_000) < np.where(uncertainty < 1e-5, 1.0, 0.2)
    expected = naive_ace(1 - uncertainty, correct, np.zeros(15_000))
    assert expected > 0.4
    assert filled(uncertainty, correct).ace() == pytest.approx(expected, abs=1e-3)


def test_equal_confidences_are_spread_over_the_ranges_evenly():
    # 30 samples at 0.25 (20 correct) and 45 at 0.5 (9 correct): five ranges of 15 samples.
    uncertainty = np.repeat([0.75, 0.5], [30, 45])
    correct = np.concatenate([np.arange(30) < 20, np.arange(45) < 9])
    expected = (2 * abs(20 / 30 - 0.25) + 3 * abs(9 / 45 - 0.5)) / 5
    order = np.random.default_rng(2).permutation(75)
    for chosen in (np.arange(75), order):
        got = filled(uncertainty[chosen], correct[chosen], bins=5).ace()
        assert got == pytest.approx(expected)
    # With four ranges of 18.75 the second holds 11.25 of the former and 7.5 of the latter.
    a, b = 20 / 30 - 0.25, 9 / 45 - 0.5
    expected = (abs(a) + abs(11.25 * a + 7.5 * b) / 18.75 + 2 * abs(b)) / 4
    assert filled(uncertainty, correct, bins=4).ace() == pytest.approx(expected)


def test_a_calibrated_score_has_no_error_and_a_boasting_one_all():
    rng = np.random.default_rng(3)
    uncertainty = rng.random(200_000)
    error = filled(uncertainty, rng.random(200_000) < 1 - uncertainty)
    assert error.ece() < 0.01
    assert error.ace() < 0.01
    boast = filled(np.zeros(100), np.zeros(100, dtype=bool))
    assert boast.report() == {'ece': 1, 'ace': 1}


def test_no_confidence_at_all_is_counted():
    error = filled(np.array([1.0, 1.0, 0.0]), np.array([True, True, True]))
    assert error.ece() == pytest.approx(2 / 3)
    assert error.reliability().samples.sum() == 3


def test_only_groups_that_occur_count():
    confidence, correct, _ = over_and_under_confident(3000)
    alone = filled(1 - confidence, correct).ace()
    group = np.full(3000, 7)
    assert filled(1 - confidence, correct, group, groups=12).ace() == pytest.approx(alone)


def test_the_scale_turns_an_entropy_into_a_confidence():
    confidence, correct, _ = over_and_under_confident(3000)
    entropy = (1 - confidence) * math.log(11)
    error = filled(entropy, correct, scale=math.log(11))
    assert error.report() == pytest.approx(filled(1 - confidence, correct).report())


def test_the_reliability_diagram_holds_the_ece():
    confidence, correct, _ = over_and_under_confident()
    error = filled(1 - confidence, correct)
    diagram = error.reliability()
    gaps = np.abs(diagram.accuracy - diagram.confidence) * diagram.samples
    assert np.nansum(gaps) / diagram.samples.sum() == pytest.approx(error.ece())
    used = diagram.samples > 0
    assert (np.diff(diagram.confidence[used]) > 0).all()
    assert np.isnan(diagram.accuracy[~used]).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 64), st.booleans(), st.integers(0, 2)), min_size=1, max_size=60
    ),
    st.integers(0, 60),
)
def test_merging_equals_one_pass(rows, cut):
    uncertainty = np.array([row[0] / 64 for row in rows])
    correct, group = (np.array([row[k] for row in rows]) for k in (1, 2))
    whole = filled(uncertainty, correct, group, groups=3)
    first = filled(uncertainty[:cut], correct[:cut], group[:cut], groups=3)
    first.merge(filled(uncertainty[cut:], correct[cut:], group[cut:], groups=3))
    np.testing.assert_array_equal(first.cell_sums, whole.cell_sums)
    np.testing.assert_allclose(first.bin_sums, whole.bin_sums, rtol=1e-12)
    assert 0 <= whole.ace() <= 1
    assert whole.ece() == pytest.approx(naive_ece(1 - uncertainty, correct), abs=1e-9)


def test_nothing_measured_is_not_zero():
    empty = ReliabilityDiagram()
    empty.update(np.zeros((0, 4)), np.zeros((0, 4), dtype=bool))
    assert math.isnan(empty.ece())
    assert math.isnan(empty.ace())


@pytest.mark.parametrize(
    ('uncertainty', 'group', 'reason'),
    [
        ([0.5, 1.5], [0, 0], 'set scale'),
        ([0.5, -0.1], [0, 0], 'set scale'),
        ([0.5, np.nan], [0, 0], 'set scale'),
        ([0.5, 0.5], [0, 255], 'leave void pixels out'),
        ([0.5, 0.5, 0.5], [0, 0], 'differ in shape'),
    ],
)
def test_unusable_samples_are_refused(uncertainty, group, reason):
    with pytest.raises(ValueError, match=reason):
        filled(np.array(uncertainty), np.array([True, False]), np.array(group), groups=3)


def test_unlike_ones_are_not_merged():
    with pytest.raises(ValueError, match='must agree'):
        ReliabilityDiagram(groups=2).merge(ReliabilityDiagram(groups=3))
    with pytest.raises(ValueError, match='must be positive'):
        ReliabilityDiagram(scale=0)
