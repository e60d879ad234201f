"""From raw maps to a probability, a frame score and an alarm rule with a stated budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ros2_ood_monitor.bundle.manifest import Alarm, Certificate, FusedMap, Fusion
from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.inference.fusion import (
    STANDARD_SCORE_LIMIT,
    find_regions,
    frame_score,
    tail_scale,
)
from ros2_ood_monitor.supervision.cusum import Cusum

Float = NDArray[np.floating]

LEAST_THRESHOLD = 2.0
"""No single frame may raise the alarm, whatever the calibration drives looked like."""
DRIFTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Candidates for the drift, as shares of the highest score that the reference allows."""
UNCERTIFIED_MARGIN = 1.25
"""Factor over the largest evidence seen, where there are too few blocks for the budget."""


class CalibrationError(ValueError):
    """The detectors cannot be calibrated; the sentence says what to change."""


def fit_fusion(
    sources: Mapping[str, tuple[str, int]],
    normal: Mapping[str, Float],
    values: Mapping[str, Float],
    unknown: NDArray,
) -> Fusion:
    """Fit the logistic fusion of maps on pixels `values[name]` (N,), `unknown` (N,).

    `sources` names the maps, each with the network output and its plane that hold it on the robot.
    Standardises by `normal` pixels without any pasted object. A map that would get a negative
    weight is left out and the rest refitted: a detector must never argue an anomaly away.
    Raises CalibrationError if none is left, or if all pixels are unknown or none is.
    """
    share = float(np.mean(unknown > 0.5)) if unknown.size else 0.0
    if not 0 < share < 1:
        raise CalibrationError(
            f'{share:.0%} of the pixels that count show a pasted object, so that there is nothing '
            'to tell apart; give larger images with fewer void pixels'
        )
    names = list(sources)
    mean = [float(np.mean(normal[name])) for name in names]
    std = [max(float(np.std(normal[name])), 1e-6) for name in names]
    standard = np.stack(
        [
            np.clip((values[name] - m) / s, -STANDARD_SCORE_LIMIT, STANDARD_SCORE_LIMIT)
            for name, m, s in zip(names, mean, std, strict=True)
        ],
        axis=1,
    )
    used = list(range(len(names)))
    while True:
        model = LogisticRegression(C=1.0, max_iter=1000).fit(standard[:, used], unknown > 0.5)
        coefficients = model.coef_[0]
        if coefficients.min() >= 0 or len(used) == 1:
            break
        used.pop(int(coefficients.argmin()))
    if coefficients.max() <= 0:
        raise CalibrationError(
            f'no map of {", ".join(names)} is higher on pasted objects than elsewhere; train the '
            'observer longer (observer.epochs)'
        )
    weights = [0.0] * len(names)
    for index, weight in zip(used, coefficients, strict=True):
        weights[index] = float(weight)
    maps = tuple(
        FusedMap(name, *sources[name], *scale)
        for name, *scale in zip(names, mean, std, weights, strict=True)
    )
    return Fusion(maps, float(model.intercept_[0]))


def region_threshold(
    probabilities: Sequence[NDArray[np.float32]], least: float, min_area: int, rate: float = 0.02
) -> float:
    """Return the lowest threshold >= `least` that gives regions in <= `rate` of normal frames."""
    grid = [least, *(t for t in (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999) if t > least)]

    def regions(probability: NDArray[np.float32], threshold: float) -> tuple[Region, ...]:
        return find_regions(probability, threshold, min_area, 1.0, 1.0)

    for threshold in grid:
        alarmed = sum(bool(regions(map_, threshold)) for map_ in probabilities)
        if alarmed <= rate * len(probabilities):
            return threshold
    return grid[-1]


@dataclass(frozen=True)
class DriveScores:
    """Frame statistics of normal drives, and the alarm calibrated on them."""

    reference: tuple[float, ...]
    alarm: Alarm
    certificate: Certificate


def calibrate_alarm(
    drives: Sequence[Sequence[float]],
    frame_rate: float,
    drift: float | None,
    block_seconds: float,
    budget_per_hour: float,
) -> DriveScores:
    """Calibrate the conformal reference and the CUSUM rule on frame statistics of drives.

    Without a `drift`, the one of `DRIFTS` is taken that raises the alarm soonest on frames as
    anomalous as the most unusual normal one.

    Frames of one drive are not exchangeable, blocks are the unit: the threshold is the conformal
    quantile of the largest evidence per block, each drive scored against the other drives. With B
    blocks no rate below one alarm per B + 1 blocks can be certified; `certified_per_hour` says
    what can.
    """
    reference = np.sort(np.concatenate([np.asarray(drive, float) for drive in drives]))
    highest = math.log10(len(reference) + 1)
    candidates = [drift] if drift is not None else [share * highest for share in DRIFTS]
    rules = [
        _rule(drives, reference, frame_rate, candidate, block_seconds, budget_per_hour)
        for candidate in candidates
    ]
    alarm, certified = min(
        rules, key=lambda rule: rule[0].threshold / max(highest - rule[0].drift, 1e-9)
    )
    certificate = Certificate(
        budget_per_hour=budget_per_hour,
        certified_per_hour=certified,
        frame_rate=frame_rate,
        sequences=len(drives),
        hours=len(reference) / frame_rate / 3600,
    )
    return DriveScores(tuple(float(value) for value in reference), alarm, certificate)


def _rule(
    drives: Sequence[Sequence[float]],
    reference: NDArray,
    frame_rate: float,
    drift: float,
    block_seconds: float,
    budget_per_hour: float,
) -> tuple[Alarm, float]:
    """Return the CUSUM rule with this drift that keeps the budget, and its certified rate."""
    length = max(1, round(block_seconds * frame_rate))
    maxima: list[float] = []
    for number, drive in enumerate(drives):
        others = [d for index, d in enumerate(drives) if index != number]
        # A lone drive is all there is; its own frames are the reference then.
        sample = np.sort(np.concatenate(others)) if others else reference
        scale = tail_scale(sample)
        cusum = Cusum(Alarm(drift, math.inf), frame_rate)
        highest = 0.0
        for index, statistic in enumerate(drive):
            cusum.update(frame_score(float(statistic), sample, scale))
            highest = max(highest, cusum.evidence)
            if (index + 1) % length == 0 or index + 1 == len(drive):
                maxima.append(highest)
                highest = 0.0
    blocks = sorted(maxima)
    per_hour = 3600 * frame_rate / length
    rank = math.ceil((len(blocks) + 1) * (1 - min(1.0, budget_per_hour / per_hour)))
    if rank <= len(blocks):
        threshold, certified = blocks[max(rank, 1) - 1], budget_per_hour
    else:
        threshold = blocks[-1] * UNCERTIFIED_MARGIN
        certified = per_hour / (len(blocks) + 1)
    return Alarm(drift, max(threshold, LEAST_THRESHOLD)), certified
