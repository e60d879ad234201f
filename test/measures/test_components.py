"""Component measures against the definitions of the paper, written out with sets of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from offline_training.measures.components import (
    ANOMALY_TRACK,
    ComponentScores,
    MinimumSize,
)

EVERY = MinimumSize(1, 1)


def pixel_sets(mask):
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    return [set(map(tuple, np.argwhere(numbers == k))) for k in range(1, count + 1)]


def naive(predicted, labels, minimum=EVERY):
    """Return sIoU of every true component and PPV of every predicted one."""
    truth = pixel_sets(labels == 1)
    guess = [p for p in pixel_sets(predicted & (labels != 255)) if len(p) >= minimum.predicted]
    ignored = set().union(*(k for k in truth if len(k) < minimum.truth))
    truth = [k for k in truth if len(k) >= minimum.truth]
    guess = [p - ignored for p in guess if p - ignored]
    siou = []
    for k in truth:
        touching = set().union(*(p for p in guess if p & k))
        others = set().union(*(other for other in truth if other is not k))
        siou.append(len(k & touching) / len((k | touching) - (others - k)))
    everything = set().union(*truth)
    return siou, [len(p & everything) / len(p) for p in guess]


def naive_report(images, minimum=EVERY):
    results = [naive(predicted, labels, minimum) for predicted, labels in images]
    siou = [value for image in results for value in image[0]]
    ppv = [value for image in results for value in image[1]]
    f1 = []
    for percent in range(25, 80, 5):
        found = sum(round(100 * value, 9) > percent for value in siou)
        false = sum(round(100 * value, 9) <= percent for value in ppv)
        f1.append(2 * found / (2 * found + len(siou) - found + false))
    return {'siou': np.mean(siou), 'ppv': np.mean(ppv), 'mean_f1': np.mean(f1)}


def image(seed):
    rng = np.random.default_rng(seed)
    labels = (ndimage.gaussian_filter(rng.normal(size=(48, 64)), 3) > 0.06).astype(np.uint8)
    shifted = np.roll(labels, rng.integers(-3, 4, 2), (0, 1)).astype(bool)
    noise = ndimage.gaussian_filter(rng.normal(size=labels.shape), 1) > 0.35
    labels[20:24, 10:40] = 255
    return shifted ^ noise, labels


def scored(images, minimum=EVERY):
    scores = ComponentScores(minimum)
    for predicted, labels in images:
        scores.update(predicted, labels)
    return scores


@pytest.mark.parametrize('minimum', [EVERY, MinimumSize(12, 30)])
def test_measures_follow_the_definitions(minimum):
    images = [image(seed) for seed in range(8)]
    got = scored(images, minimum).report()
    assert got == pytest.approx(naive_report(images, minimum))
    assert 0.1 < got['mean_f1'] < 0.9  # or the comparison would say little


masks = st.lists(st.integers(0, 2**12 - 1), min_size=8, max_size=8).map(
    lambda rows: np.array([[row >> bit & 1 for bit in range(12)] for row in rows], dtype=bool)
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(masks, masks, masks, st.integers(1, 6), st.integers(1, 6))
def test_any_masks_follow_the_definitions(predicted, truth, ignored, smallest, tiny):
    labels = np.where(ignored & ~predicted, 255, truth).astype(np.uint8)
    minimum = MinimumSize(smallest, tiny)
    siou, ppv = naive(predicted, labels, minimum)
    sums = scored([(predicted, labels)], minimum).sums
    assert list(sums[:4]) == pytest.approx([len(siou), sum(siou), len(ppv), sum(ppv)])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(masks, masks, masks, masks)
def test_merging_equals_one_pass(mask_a, truth_a, mask_b, truth_b):
    a, b = (mask_a, truth_a.astype(np.uint8)), (mask_b, truth_b.astype(np.uint8))
    merged = scored([a])
    merged.merge(scored([b]))
    np.testing.assert_array_equal(merged.sums, scored([a, b]).sums)


def canvas(*boxes, value=1):
    labels = np.zeros((40, 60), dtype=np.uint8)
    for top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = value
    return labels


def test_a_perfect_mask_scores_one_and_an_empty_one_nothing():
    labels = canvas((2, 2, 10, 10), (20, 30, 8, 8))
    assert scored([(labels == 1, labels)]).report() == {'siou': 1, 'ppv': 1, 'mean_f1': 1}
    empty = scored([(np.zeros_like(labels, dtype=bool), labels)])
    assert (empty.siou(), empty.mean_f1()) == (0, 0)
    assert math.isnan(empty.ppv())


def test_one_prediction_over_two_neighbours_is_not_punished_for_both():
    labels = canvas((5, 5, 10, 10), (5, 17, 10, 10))
    bridge = canvas((5, 5, 10, 22)) == 1  # both, and the two columns between them
    scores = scored([(bridge, labels)])
    assert scores.siou() == pytest.approx(100 / 120)
    assert scores.ppv() == pytest.approx(200 / 220)


def test_diagonal_pixels_are_connected():
    labels = np.eye(12, dtype=np.uint8)
    assert scored([(labels == 1, labels)]).sums[0] == 1


def test_an_exact_tie_is_a_miss_and_a_false_alarm():
    labels = canvas((0, 0, 10, 20))
    half = canvas((0, 0, 10, 10)) == 1
    scores = scored([(half, labels)])
    assert scores.siou() == 0.5
    # Found below 0.5 only (five levels of eleven); its PPV of 1 is never false.
    np.testing.assert_array_equal(scores.f1(), [1] * 5 + [0] * 6)
    larger = canvas((0, 0, 10, 20)) == 1
    scores = scored([(larger, canvas((0, 0, 10, 10)))])
    assert scores.ppv() == 0.5
    np.testing.assert_array_equal(scores.f1(), [1] * 5 + [0] * 6)


def test_ignored_pixels_split_a_prediction_and_are_no_false_alarm():
    labels = canvas((0, 0, 40, 20))
    labels[:, 20:30] = 255
    predicted = np.zeros(labels.shape, dtype=bool)
    predicted[:, :30] = True
    assert scored([(predicted, labels)]).report() == {'siou': 1, 'ppv': 1, 'mean_f1': 1}
    predicted[:, 30:] = True  # beyond the ignored strip: a component of its own
    assert scored([(predicted, labels)]).ppv() == 0.5


def test_small_components_do_not_count():
    labels = canvas((2, 2, 20, 25), (30, 50, 5, 5))
    predicted = labels == 1
    predicted[38, 10:20] = True
    scores = scored([(predicted, labels)], ANOMALY_TRACK)
    # 500 pixels remain on both sides; 25 true ones are ignored, 10 false ones vanish.
    assert list(scores.sums[:4]) == [1, 1, 1, 1]


def test_a_image_without_anomaly_punishes_false_alarms_only():
    clean = np.zeros((40, 60), dtype=np.uint8)
    quiet = scored([(clean == 1, clean)])
    assert all(math.isnan(value) for value in quiet.report().values())
    alarm = scored([(canvas((0, 0, 9, 9)) == 1, clean)])
    assert (alarm.ppv(), alarm.mean_f1()) == (0, 0)


def test_unusable_images_are_refused():
    with pytest.raises(ValueError, match='must be equal'):
        ComponentScores().update(np.zeros((4, 5), dtype=bool), np.zeros((5, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match='label 2 is none of'):
        ComponentScores().update(np.zeros((4, 5), dtype=bool), np.full((4, 5), 2, dtype=np.uint8))
    with pytest.raises(ValueError, match='must agree'):
        ComponentScores(EVERY).merge(ComponentScores(ANOMALY_TRACK))
