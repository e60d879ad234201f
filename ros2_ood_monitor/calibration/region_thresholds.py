"""A strict and a sensitive operating point for regions, learned from the levels of normal frames.

The level of a frame is the highest probability at which it has a region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.calibration.evidence import maxima_of
from ros2_ood_monitor.calibration.tails import fit_tail

Float = NDArray[np.float64]

STRICT_SHARE, SENSITIVE_SHARE = 0.01, 0.05
"""Shares of normal frames that may have a region at each operating point."""
_ALMOST_ONE = 1 - 1e-7


@dataclass(frozen=True)
class Persistence:
    """Regions count that are seen in `frames` of the last `window` frames."""

    frames: int = 3
    window: int = 5


@dataclass(frozen=True)
class RegionThresholds:
    """Probabilities; `alarms_per_hour` of persisting strict regions in normal driving."""

    strict: float
    sensitive: float
    alarms_per_hour: float | None
    """None where it was not looked at."""


def region_thresholds(
    levels: Sequence[Float],
    least: float,
    reachable: float,
    persistence: Persistence,
    block: int,
    hours: float,
    per_hour: float | None,
) -> RegionThresholds:
    """Return thresholds within [least, reachable] for the levels (N,) of normal sequences.

    Strict regions are in at most 1 % of normal frames and persist at most `per_hour` times an
    hour, sensitive ones are in at most 5 %. With `per_hour` None only the frames count.
    """
    frames = np.concatenate(levels)
    sensitive = max(least, _above_share(frames, SENSITIVE_SHARE))
    strict = max(least, _above_share(frames, STRICT_SHARE))
    rate = None
    if per_hour is not None:
        blocks = [maxima_of(_logit(persisting(each, persistence)), block) for each in levels]
        tail = fit_tail(blocks, hours)
        strict = max(strict, _probability(tail.level(per_hour)))
        rate = per_hour
        if strict > reachable:
            rate = max(per_hour, tail.per_hour(float(_logit(np.array(reachable)))))
    # A threshold that no frame can reach would silence the regions.
    strict = min(strict, reachable)
    return RegionThresholds(strict, min(sensitive, strict), rate)


def persisting(levels: Float, persistence: Persistence) -> Float:
    """Return for each frame the highest threshold at which a region persists; shapes (N,).

    Where the regions of different frames are does not count, so that it is never too low.
    """
    frames, window = persistence.frames, max(persistence.frames, persistence.window)
    before = np.zeros(window - 1)
    last = np.lib.stride_tricks.sliding_window_view(np.concatenate([before, levels]), window)
    result: Float = np.partition(last, window - frames, axis=1)[:, window - frames]
    return result


def _above_share(values: Float, share: float) -> float:
    """Return the lowest float32 that at most `share` of the values reach, counting one more."""
    ordered = np.sort(values)
    allowed = int(share * (values.size + 1)) - 1
    highest = np.float32(ordered[values.size - 1 - max(0, allowed)])
    return float(np.nextafter(highest, np.float32(1.0)))


def _logit(probability: Float) -> Float:
    p = np.clip(probability, 1 - _ALMOST_ONE, _ALMOST_ONE)
    result: Float = np.log(p) - np.log1p(-p)
    return result


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))
