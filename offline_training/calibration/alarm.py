"""A conformal frame score and an alarm rule with a stated budget, learned from normal driving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import Alarm, Certificate
from ros2_ood_monitor.inference.fusion import frame_score, tail_scale
from ros2_ood_monitor.supervision.cusum import Cusum

LEAST_THRESHOLD = 2.0
"""No single frame may raise the alarm, whatever the calibration sequences looked like."""
DRIFTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Candidates for the drift, as shares of the highest score that the reference allows."""
UNCERTIFIED_MARGIN = 1.25
"""Factor over the largest evidence seen, where there are too few blocks for the budget."""


@dataclass(frozen=True)
class CalibratedAlarm:
    """Frame statistics of normal sequences, and the alarm calibrated on them."""

    reference: tuple[float, ...]
    alarm: Alarm
    certificate: Certificate


def calibrate_alarm(
    sequences: Sequence[Sequence[float]],
    frame_rate: float,
    drift: float | None,
    block_seconds: float,
    budget_per_hour: float,
) -> CalibratedAlarm:
    """Calibrate the conformal reference and the CUSUM rule on frame statistics of sequences.

    Without a `drift`, the one of `DRIFTS` is taken that raises the alarm soonest on frames as
    anomalous as the most unusual normal one.

    Frames of one sequence are not exchangeable, blocks are the unit: the threshold is the
    conformal quantile of the largest evidence per block, each sequence scored against the others.
    With B blocks no rate below one alarm per B + 1 blocks can be certified; `certified_per_hour`
    says what can.
    """
    reference = np.sort(np.concatenate([np.asarray(sequence, float) for sequence in sequences]))
    highest = math.log10(len(reference) + 1)
    candidates = [drift] if drift is not None else [share * highest for share in DRIFTS]
    rules = [
        _rule(sequences, reference, frame_rate, candidate, block_seconds, budget_per_hour)
        for candidate in candidates
    ]
    alarm, certified = min(
        rules, key=lambda rule: rule[0].threshold / max(highest - rule[0].drift, 1e-9)
    )
    certificate = Certificate(
        budget_per_hour=budget_per_hour,
        certified_per_hour=certified,
        frame_rate=frame_rate,
        sequences=len(sequences),
        hours=len(reference) / frame_rate / 3600,
    )
    return CalibratedAlarm(tuple(float(value) for value in reference), alarm, certificate)


def _rule(
    sequences: Sequence[Sequence[float]],
    reference: NDArray,
    frame_rate: float,
    drift: float,
    block_seconds: float,
    budget_per_hour: float,
) -> tuple[Alarm, float]:
    """Return the CUSUM rule with this drift that keeps the budget, and its certified rate."""
    length = max(1, round(block_seconds * frame_rate))
    maxima: list[float] = []
    for number, sequence in enumerate(sequences):
        others = [d for index, d in enumerate(sequences) if index != number]
        # A lone sequence is all there is; its own frames are the reference then.
        sample = np.sort(np.concatenate(others)) if others else reference
        scale = tail_scale(sample)
        cusum = Cusum(Alarm(drift, math.inf), frame_rate)
        highest = 0.0
        for index, statistic in enumerate(sequence):
            cusum.update(frame_score(float(statistic), sample, scale))
            highest = max(highest, cusum.evidence)
            if (index + 1) % length == 0 or index + 1 == len(sequence):
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
