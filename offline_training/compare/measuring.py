"""Measures, intervals and curves of one detector on one set, from its stored scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from offline_training.compare.results import (
    Curves,
    Histogram,
    Interval,
    Measurement,
    Reliability,
)
from offline_training.compare.truth import Question
from offline_training.data.base import VOID, DataError
from offline_training.measures.bootstrap import IMAGE_CELLS, bootstrap_curve
from offline_training.measures.calibration_error import ReliabilityDiagram
from offline_training.measures.components import ANOMALY_TRACK, ComponentScores, MinimumSize
from offline_training.measures.detection_curve import SIGN_FLIPPED_BELOW, DetectionCurve
from offline_training.measures.pixel_curve import PixelCurve

POINTS = 200
"""Points of a drawn curve."""
BINS = 48
"""Bins of a drawn histogram."""
SAMPLES_PER_FRAME = 2000
"""Pixels of a frame that the probability of error is fitted on."""
TRACK_PIXELS = 1.5e6
"""Pixels of an image for which the component sizes of SegmentMeIfYouCan were chosen."""

Scores = NDArray[np.float32]
Probability = Callable[[Scores], Scores]
"""Scores to probabilities of an error."""


CALLED = 0.01
"""Share of normal validation frames that a decision about frames may call anomalous."""


def measure_frames(
    question: Question,
    positive: Scores,
    negative: Scores,
    val: Scores,
    resamples: int,
    seed: int,
) -> Measurement:
    """Return what tells frames (P,) from normal frames (N,).

    What would be called anomalous at a threshold that few normal frames `val` (V,) exceed is
    measured too: an order of frames is no decision.
    Where both show the same scenes, intervals are over scenes: a scene that is hard is so twice.
    """
    scenes = len(negative) if question.every else len(positive) + len(negative)
    images = [PixelCurve(cells=IMAGE_CELLS) for _ in range(scenes)]
    for index, score in enumerate(negative):
        images[index].update(np.array([score]), np.array([False]))
    for index, score in enumerate(positive):
        place = index * question.every if question.every else len(negative) + index
        images[place].update(np.array([score]), np.array([True]))
    whole = PixelCurve()
    whole.update(
        np.concatenate([positive, negative]),
        np.repeat([True, False], [len(positive), len(negative)]),
    )
    _require_both_kinds(question, whole)
    found = _measurement(whole, images, resamples, seed)
    threshold = decision_threshold(val)
    called = {'called': positive, 'called_normal': negative}
    shares = {name: float(np.mean(scores > threshold)) for name, scores in called.items()}
    return replace(found, measures={**found.measures, **shares})


def decision_threshold(val: Scores) -> float:
    """Return the score above which a frame is called anomalous, from normal frames (V,).

    The conformal quantile: of other normal frames, drawn alike, at most `CALLED` exceed it. With
    fewer than 99 frames that cannot be promised, and it is the largest.
    """
    rank = min(len(val), math.ceil((len(val) + 1) * (1 - CALLED)))
    return float(np.sort(val)[rank - 1])


def measure_pixels(
    question: Question,
    maps: Scores,
    calibrate: Probability | None,
    resamples: int,
    seed: int,
) -> Measurement:
    """Return what tells anomalous pixels from normal ones in maps (N, h, w).

    `calibrate` turns scores into probabilities of error; without it there is no calibration error.
    """
    whole, images, per_frame = PixelCurve(), [], []
    groups = max((int(own.max()) + 1 for own in question.classes), default=1)
    calibration = ReliabilityDiagram(groups) if calibrate and question.classes else None
    for index, (scores, truth) in enumerate(_full_size(question, maps)):
        counted = truth != VOID
        image = PixelCurve(cells=IMAGE_CELLS)
        for curve in (whole, image):
            curve.update(scores[counted], truth[counted] == 1)
        both = truth[counted].any() and not truth[counted].all()
        per_frame.append(image.ap() if both else None)
        images.append(image)
        if calibration is not None and calibrate is not None:
            calibration.update(
                calibrate(scores[counted]), truth[counted] == 0, question.classes[index][counted]
            )
    _require_both_kinds(question, whole)
    components, errors, reliability = None, None, None
    if question.heading == 'pixel':
        components = _components(question, maps, whole.best_f1_threshold())
    if calibration is not None:
        errors = {name: _nullable(value) for name, value in calibration.report().items()}
        diagram = calibration.reliability()
        reliability = Reliability(
            tuple(map(_nullable, diagram.confidence)),
            tuple(map(_nullable, diagram.accuracy)),
            tuple(diagram.samples.tolist()),
        )
    return replace(
        _measurement(whole, images, resamples, seed, reliability),
        frame_ap=tuple(per_frame),
        components=components,
        calibration=errors,
    )


def error_probability(question: Question, maps: Scores, seed: int) -> Probability | None:
    """Fit Platt's logistic curve from scores to the probability of an error.

    Some pixels per frame are drawn. Every detector gets the same two parameters to fit, so that
    calibration errors compare the scores and not their units (Platt 1999). None where no pixel is
    known, all scores or all truths are the same, or errors have the lower scores: a negative
    weight would turn the score round.
    """
    rng = np.random.default_rng(seed)
    drawn, wrong = [], []
    for scores, truth in _full_size(question, maps):
        places = np.flatnonzero(truth.ravel() != VOID)
        if places.size:
            places = rng.choice(places, SAMPLES_PER_FRAME)
            drawn.append(scores.ravel()[places])
            wrong.append(truth.ravel()[places])
    if not drawn:
        return None
    x, y = np.concatenate(drawn).astype(np.float64), np.concatenate(wrong)
    center, scale = x.mean(), x.std()
    if not scale or y.all() or not y.any():
        return None
    model = LogisticRegression().fit((x[:, None] - center) / scale, y)
    weight, bias = float(model.coef_[0, 0]), float(model.intercept_[0])
    if weight <= 0:
        return None

    def probability(scores: Scores) -> Scores:
        logit = weight * (scores.astype(np.float64) - center) / scale + bias
        return (1 / (1 + np.exp(-np.clip(logit, -60, 60)))).astype(np.float32)

    return probability


def _full_size(question: Question, maps: Scores) -> Iterator[tuple[Scores, NDArray[np.uint8]]]:
    """Yield score maps at the size of the truth, with the truth."""
    for score_map, truth in zip(maps, question.truth, strict=True):
        size = truth.shape[::-1]
        scores = cv2.resize(score_map, size, interpolation=cv2.INTER_LINEAR)
        yield np.asarray(scores, dtype=np.float32), truth


def _require_both_kinds(question: Question, whole: PixelCurve) -> None:
    if not whole.has_both_kinds():
        raise DataError(
            f'{question.name} has no anomalous or no normal samples; take it out of the '
            'configuration, or correct its data'
        )


def _measurement(
    whole: PixelCurve,
    images: list[PixelCurve],
    resamples: int,
    seed: int,
    reliability: Reliability | None = None,
) -> Measurement:
    intervals: dict[str, Interval] = {}
    if resamples and len(images) > 1:
        found = bootstrap_curve(images, np.random.default_rng(seed), _interval_measures, resamples)
        intervals = {
            name: (_nullable(each.low), _nullable(each.high)) for name, each in found.items()
        }
    # Chance alone puts half of all useless scores below 0.5.
    highest = intervals.get('auroc', (None, None))[1]
    rates = whole.rates(POINTS)
    return Measurement(
        measures={**whole.measures()},
        intervals=intervals,
        flipped=whole.looks_flipped() and (highest is None or highest < SIGN_FLIPPED_BELOW),
        calibration=None,
        components=None,
        curves=Curves(
            _points(rates.fpr, rates.tpr),
            _points(rates.tpr, rates.precision),
            _histogram(whole),
            reliability,
        ),
    )


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(x.round(5).tolist(), y.round(5).tolist(), strict=True))


def _interval_measures(curve: DetectionCurve) -> dict[str, float]:
    return {
        'auroc': curve.auroc(),
        'aupr_anomaly': curve.ap(),
        'fpr95_anomaly': curve.fpr95(),
        'fpr95_success': curve.fpr95('success'),
    }


def _histogram(curve: DetectionCurve) -> Histogram:
    """Return shares per bin between the outermost half percents, beyond which the ends reach."""
    scores, positives, negatives = curve.counts()
    total = np.cumsum((positives + negatives)[::-1]) / (positives + negatives).sum()
    rising = scores[::-1].astype(np.float64)
    low, high = rising[np.searchsorted(total, (0.005, 0.995))]
    if not high > low:
        high = low + max(1, abs(low))  # adding 1 to a large float changes nothing
    edges = np.linspace(low, high, BINS + 1)
    normal, anomalous = (
        np.histogram(np.clip(scores, low, high), edges, weights=counts / counts.sum())[0]
        for counts in (negatives, positives)
    )
    return Histogram(*(tuple(each.tolist()) for each in (edges, normal, anomalous)))


def _components(question: Question, maps: Scores, threshold: float) -> dict[str, float | None]:
    pixels = float(np.mean([truth.size for truth in question.truth]))
    share = min(1.0, pixels / TRACK_PIXELS)
    minimum = MinimumSize(
        max(1, round(share * ANOMALY_TRACK.predicted)), max(1, round(share * ANOMALY_TRACK.truth))
    )
    components = ComponentScores(minimum)
    for scores, truth in _full_size(question, maps):
        components.update(scores >= threshold, truth)
    report = components.report()
    names = {'siou': 'siou', 'ppv': 'ppv', 'f1': 'mean_f1'}
    return {ours: _nullable(report[theirs]) for ours, theirs in names.items()}


def _nullable(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
