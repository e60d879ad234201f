"""Measures of stored scores: intervals over scenes, no score turned round, sets without a kind."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from offline_training.compare.measuring import (
    decision_threshold,
    error_probability,
    measure_frames,
    measure_pixels,
)
from offline_training.compare.results import Measurement
from offline_training.compare.truth import Question
from offline_training.data.base import DataError


def frame_scores(count: int, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=count)
    noise = rng.normal(size=count) * (1 - correlation**2) ** 0.5
    return (1 + correlation * normal + noise).astype(np.float32), normal.astype(np.float32)


def width(report: Measurement) -> float:
    low, high = report.intervals['auroc']
    return high - low


def test_intervals_of_the_same_scenes_are_over_scenes():
    positive, negative = frame_scores(100, 0.95)
    pairs = Question('fog', 'fog', 'natural', '', every=1)
    strangers = Question('fog', 'fog', 'natural', '')
    paired = measure_frames(pairs, positive, negative, negative, 300, 0)
    apart = measure_frames(strangers, positive, negative, negative, 300, 0)
    assert paired.measures == apart.measures
    assert width(paired) < 0.6 * width(apart)


def test_every_other_scene_may_be_disturbed():
    positive, negative = frame_scores(100, 0.95)
    strangers = Question('fog', 'fog', 'natural', '')
    halves = Question('fog', 'fog', 'natural', '', every=2)
    report = measure_frames(halves, positive[::2], negative, negative, 300, 0)
    assert (
        0
        < width(report)
        < width(measure_frames(strangers, positive[::2], negative, negative, 300, 0))
    )


def error_question() -> Question:
    rng = np.random.default_rng(1)
    truth = (rng.random((3, 20, 20)) < 0.3).astype(np.uint8)
    return Question('errors', 'val', 'errors', '', truth=tuple(truth), classes=tuple(truth * 0))


def test_a_score_of_the_wrong_sign_gets_no_probability_and_no_calibration_error():
    question = error_question()
    noise = np.random.default_rng(2).normal(size=(3, 20, 20))
    maps = (np.stack(question.truth) + 0.5 * noise).astype(np.float32)
    right = error_probability(question, maps, 0)
    assert right is not None
    assert error_probability(question, -maps, 0) is None
    assert measure_pixels(question, maps, right, 20, 0).calibration['ece'] < 0.1
    turned = measure_pixels(question, -maps, None, 20, 0)
    assert turned.calibration is None
    assert turned.flipped


def test_chance_alone_is_no_flipped_sign():
    rng = np.random.default_rng(0)
    question = Question('fog', 'fog', 'natural', '')
    flags = [
        measure_frames(question, *(rng.normal(size=(3, 40)).astype(np.float32)), 100, 0).flipped
        for _ in range(30)
    ]
    assert sum(flags) <= 4


def test_a_set_without_anomalies_is_named():
    question = Question('nothing', 'nothing', 'pixel', '', truth=(np.zeros((8, 8), np.uint8),) * 2)
    with pytest.raises(DataError, match='nothing has no anomalous'):
        measure_pixels(question, np.zeros((2, 8, 8), np.float32), None, 20, 0)


def test_one_image_has_no_interval():
    truth = np.eye(8, dtype=np.uint8)
    question = Question('one', 'one', 'pixel', '', truth=(truth,))
    report = measure_pixels(question, truth[None].astype(np.float32), None, 20, 0)
    assert report.measures['auroc'] == 1
    assert report.intervals == {}


@pytest.mark.parametrize('score', [0, 1e20, -3e38])
def test_a_histogram_of_equal_scores_has_a_width(score):
    scores = np.full(5, score, np.float32)
    report = measure_frames(Question('fog', 'fog', 'natural', ''), scores, scores, scores, 0, 0)
    edges = report.curves.histogram.edges
    assert all(low < high for low, high in pairwise(edges))


def test_frames_are_called_at_a_threshold_from_validation_frames():
    val = np.arange(200, dtype=np.float32)
    assert decision_threshold(val) == 198
    # One of 200 may exceed it, with the next frame 2 of 201; of fewer than 99 it is the largest.
    assert decision_threshold(val[:40]) == 39
    positive = np.array([198, 199, 500, 3], np.float32)
    negative = np.array([0, 5, 199, 100], np.float32)
    question = Question('fog', 'fog', 'natural', '')
    measures = measure_frames(question, positive, negative, val, 0, 0).measures
    assert (measures['called'], measures['called_normal']) == (0.5, 0.25)


def test_few_other_normal_frames_are_called():
    rng = np.random.default_rng(3)
    rates = [
        np.mean(rng.normal(size=2000) > decision_threshold(rng.normal(size=150)))
        for _ in range(200)
    ]
    assert 0.004 < np.mean(rates) <= 0.011
