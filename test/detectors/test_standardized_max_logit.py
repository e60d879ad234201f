"""Standardised max logits: statistics per predicted class, boundaries, smoothing."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.colour_network import CLASSES, normal_frames, some_images, watched_network

from offline_training.data.frames import Frames
from offline_training.detectors.logit_scores.standardized_max_logit import (
    StandardizedMaxLogit,
    boundaries,
    smooth,
    suppress_boundaries,
)

MAPS = arrays(np.int64, (1, 6, 7), elements=st.integers(0, 2))


def plain() -> StandardizedMaxLogit:
    return StandardizedMaxLogit(boundary_width=0, dilation=0)


def near_another_label(labels: np.ndarray, width: int) -> np.ndarray:
    rows, columns = labels.shape
    found = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(rows, columns):
        for v, u in np.ndindex(rows, columns):
            if abs(y - v) + abs(x - u) <= width and labels[y, x] != labels[v, u]:
                found[y, x] = True
    return found


@settings(max_examples=25, deadline=None)
@given(labels=MAPS)
def test_boundaries_are_an_l1_distance_to_another_label(labels):
    found = boundaries(torch.from_numpy(labels), [4, 2, 1])
    for width, mask in zip((4, 2, 1), found, strict=True):
        assert np.array_equal(mask[0, 0].numpy() > 0, near_another_label(labels[0], width))


@settings(max_examples=25, deadline=None)
@given(labels=MAPS, seed=st.integers(0, 1000))
def test_suppression_averages_neighbours_outside_the_boundary(labels, seed):
    scores = np.random.default_rng(seed).normal(size=labels.shape).astype(np.float32)
    expected = scores[0].copy()
    for width in (4, 3, 2, 1):
        boundary = near_another_label(labels[0], width)
        before = expected.copy()
        for y, x in zip(*np.nonzero(boundary), strict=True):
            window = (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
            inside = before[window][~boundary[window]]
            if inside.size:
                expected[y, x] = inside.mean()
    actual = suppress_boundaries(torch.from_numpy(scores), torch.from_numpy(labels), 4)[0]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_an_artefact_along_a_boundary_vanishes_up_to_its_edge():
    labels = torch.zeros(1, 9, 20, dtype=torch.int64)
    labels[:, :, 10:] = 1
    scores = torch.zeros(1, 9, 20)
    scores[:, :, 7:13] = 10  # three pixels on each side
    assert suppress_boundaries(scores, labels, 3).abs().max() == 0
    narrower = suppress_boundaries(scores, labels, 2)
    assert torch.equal(narrower[:, :, [7, 12]], scores[:, :, [7, 12]])


@pytest.mark.parametrize('dilation', [1, 3])
def test_smoothing_is_a_dilated_gaussian(dilation):
    scores = np.random.default_rng(0).normal(size=(13, 17)).astype(np.float32)
    tap = np.exp(-0.5 * np.arange(-3, 4) ** 2.0)
    kernel = np.zeros((6 * dilation + 1,) * 2)
    kernel[::dilation, ::dilation] = np.outer(tap, tap) / tap.sum() ** 2
    expected = scipy.ndimage.correlate(scores, kernel, mode='nearest')
    actual = smooth(torch.from_numpy(scores)[None], dilation)[0]
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_fitted_images_have_standard_scores_in_every_class():
    watched, frames = watched_network(), normal_frames()
    images = torch.from_numpy(np.stack(frames.images))
    # Batches of three do not divide eight images.
    detector = StandardizedMaxLogit(0, 0, batch_size=3).fit(watched, frames)
    scores = detector.score_map(watched, images).numpy()
    labels = watched(images)[:, :CLASSES].argmax(dim=1).numpy()
    for index in range(CLASSES):
        own = scores[labels == index]
        assert own.mean() == pytest.approx(0, abs=1e-3)
        assert own.std() == pytest.approx(1, abs=1e-3)


def test_a_class_that_was_never_predicted_takes_the_statistics_of_all():
    watched, frames = watched_network(), normal_frames(4)
    with torch.no_grad():
        watched.network.head.bias[1] = -100
    detector = plain().fit(watched, frames)
    peak = watched(torch.from_numpy(np.stack(frames.images)))[:, :CLASSES].amax(dim=1)
    assert detector.mean[1].item() == pytest.approx(peak.mean().item(), abs=1e-4)
    assert detector.deviation[1].item() == pytest.approx(peak.std(unbiased=False).item(), abs=1e-4)
    assert detector.score_map(watched, some_images(unknown=True)).isfinite().all()


def test_constant_images_give_finite_scores():
    black = Frames([np.zeros((32, 48, 3), np.uint8)] * 2, [np.zeros((32, 48), np.uint8)] * 2)
    watched = watched_network()
    detector = plain().fit(watched, black)
    assert detector.score_map(watched, some_images(unknown=True)).isfinite().all()


def test_a_boundary_between_known_things_is_no_anomaly():
    watched = watched_network()
    corrected = StandardizedMaxLogit(boundary_width=4, dilation=1).fit(watched, normal_frames())
    images = some_images(unknown=False)
    raw = plain().fit(watched, normal_frames())
    assert (corrected.score_frame(watched, images) < 0.7 * raw.score_frame(watched, images)).all()


def test_a_classifier_has_one_score_per_image():
    watched, frames = watched_network(classify=True), normal_frames()
    detector = StandardizedMaxLogit().fit(watched, frames)
    assert detector.score_map(watched, some_images(unknown=True)).shape == (3, 1, 1)


@pytest.mark.parametrize('settings', [{'boundary_width': -1}, {'dilation': -2}])
def test_negative_widths_are_refused(settings):
    with pytest.raises(ValueError, match='negative'):
        StandardizedMaxLogit(**settings)
