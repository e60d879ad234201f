"""A fast and a slow CUSUM rule that together keep the false-alarm budget of a channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import Alarm
from ros2_ood_monitor.calibration.evidence import block_maxima
from ros2_ood_monitor.calibration.tails import fit_tail

Float = NDArray[np.float64]

FAST_SHARE = 0.8
"""Drift of the fast rule as a share of the highest conformal score: what is more unusual than
nearly every normal frame raises the alarm within a few frames, and nothing else does."""
SLOW_MARGIN = 1.75
"""Drift of the slow rule over the mean score of the most unusual normal minute: its evidence falls
in whatever resembles the normal sequences, and grows in what is lastingly more unusual."""
LEAST_SLOW = 1.0
LEAST_THRESHOLD = 2.0
"""No single frame may raise the alarm, whatever the calibration sequences looked like."""
LEAST_BLOCKS = 20
"""With fewer blocks no tail is fitted."""
MARGIN = 1.5
"""Factor over the largest evidence seen, where there are fewer blocks than that."""
LONGEST_REACH = 2.0
"""No threshold is beyond this factor of the largest evidence seen: so far out a fit is a guess."""


def alarm_rules(
    scores: Sequence[Float], limit: float, block: int, minute: int, hours: float, per_hour: float
) -> tuple[Alarm, ...]:
    """Return the fast and the slow rule, which together alarm `per_hour` times in normal driving.

    `scores` (N,) are the channel's scores of each normal sequence, scored against the others;
    `limit` is the highest conformal score, `block` and `minute` are numbers of frames,
    `hours` is the length of all sequences. Where a slow rule would have to be as deaf as the fast
    one, that one is all.
    """
    fast = FAST_SHARE * limit
    slow = max(LEAST_SLOW, SLOW_MARGIN * max(_highest_mean(each, minute) for each in scores))
    drifts = (fast, slow) if slow < fast else (fast,)
    maxima = [[block_maxima(each, drift, block) for each in scores] for drift in drifts]
    if sum(map(len, maxima[0])) < LEAST_BLOCKS:
        thresholds = [max(LEAST_THRESHOLD, MARGIN * _highest(each)) for each in maxima]
    else:
        thresholds = _together(maxima, hours, per_hour)
    return tuple(Alarm(drift, each) for drift, each in zip(drifts, thresholds, strict=True))


def _highest_mean(scores: Float, frames: int) -> float:
    """Return the highest mean of so many scores in a row, or of all if they are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    frames = min(frames, len(scores))
    return float((sums[frames:] - sums[:-frames]).max()) / frames


def _together(maxima: Sequence[Sequence[Float]], hours: float, per_hour: float) -> list[float]:
    """Return thresholds that all rules are equally likely to reach, and one of them so often.

    Rules of one channel mostly alarm on the same frames. Sharing the budget out among them as if
    they did not would make each of them deafer than it needs to be.
    """
    tails = [fit_tail([np.log1p(each) for each in rule], hours) for rule in maxima]
    highest = [
        np.max(
            [
                (np.log1p(each) - tail.start) / tail.scale
                for each, tail in zip(rules, tails, strict=True)
            ],
            axis=0,
        )
        for rules in zip(*maxima, strict=True)
    ]
    level = fit_tail(highest, hours).level(per_hour)
    return [
        _bounded(tail.start + tail.scale * level, rule)
        for tail, rule in zip(tails, maxima, strict=True)
    ]


def _bounded(log_threshold: float, maxima: Sequence[Float]) -> float:
    """Return the threshold of a level of log(1 + evidence).

    The evidence of a sequence that lasts has a heavier tail than an exponential one; that of its
    logarithm fits.
    """
    reach = max(LEAST_THRESHOLD, LONGEST_REACH * _highest(maxima))
    return min(max(LEAST_THRESHOLD, math.expm1(min(log_threshold, 50.0))), reach)


def _highest(maxima: Sequence[Float]) -> float:
    return max(float(each.max()) for each in maxima)
