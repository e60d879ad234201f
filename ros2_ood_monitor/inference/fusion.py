"""From single anomaly maps to one probability and one frame score.

Shared by calibration and robot, so that a calibrated number means the same thing on both. Every
score here is higher for more anomalous.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import FusedMap, Fusion
from ros2_ood_monitor.frame import Float32Array

LEAST_TAIL = 20
"""Reference values from which on a tail is fitted; fewer say nothing about it."""

STANDARD_SCORE_LIMIT = 10.0
"""Standardised maps are clipped here, so that one exploding density cannot outvote the rest."""


def single_maps(
    outputs: Mapping[str, object], maps: Iterable[FusedMap]
) -> dict[str, Float32Array]:
    """Copy `maps`, each float32 (H/4, W/4), out of the networks' `outputs`, by name.

    `outputs` are float32 (1, C, H/4, W/4); KeyError if one is missing.
    """
    return {
        each.name: np.array(outputs[each.tensor], np.float32)[0, each.channel] for each in maps
    }


def fused_logits(maps: Mapping[str, Float32Array], fusion: Fusion) -> Float32Array:
    """Return bias + sum of weight * clip((map - mean) / std, -10, 10), same shape as the maps.

    Logistic fusion of standardised maps; those without weight may be missing. NaN stays NaN,
    infinities are clipped (check first).
    """
    first = next(iter(maps.values()))
    logits = np.full(first.shape, fusion.bias, np.float32)
    for each in fusion.maps:
        if each.weight == 0:
            continue
        standard = (maps[each.name] - np.float32(each.mean)) / np.float32(each.std)
        np.clip(standard, -STANDARD_SCORE_LIMIT, STANDARD_SCORE_LIMIT, out=standard)
        logits += np.float32(each.weight) * standard
    return logits


def probability(logits: Float32Array) -> Float32Array:
    """Return the logistic function of `logits`, in [0, 1], same shape, without overflow."""
    result: Float32Array = np.tanh(logits * np.float32(0.5))
    result += np.float32(1.0)
    result *= np.float32(0.5)
    return result


def frame_statistic(logits: Float32Array, top_fraction: float) -> float:
    """Return the mean of the highest `top_fraction` (at least one pixel) of the fused logits."""
    flat = logits.ravel()
    count = min(flat.size, max(1, round(top_fraction * flat.size)))
    return float(np.partition(flat, flat.size - count)[-count:].mean(dtype=np.float64))


def conformal_score(statistic: float, reference: Sequence[float] | NDArray[np.float64]) -> float:
    """Return -log10 p with p = (1 + #{reference >= statistic}) / (n + 1), >= 0.

    `reference` holds n ascending statistics of normal frames (split conformal p-value).
    """
    count = len(reference)
    at_least = count - int(np.searchsorted(reference, statistic, side='left'))
    # 0.0 + turns the -0.0 of p = 1 into 0.0.
    return 0.0 - math.log10((1 + at_least) / (count + 1))


def tail_scale(reference: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the mean excess of the highest square root of n reference values; inf below 20.

    It is the scale of the exponential tail that continues the sample beyond its largest value.
    """
    values = np.asarray(reference, np.float64)
    if values.size < LEAST_TAIL:
        return math.inf
    count = math.isqrt(values.size)
    excess = float(np.mean(values[-count:]) - values[-count - 1])
    return max(excess, 0.05 * float(np.std(values)), 1e-6)


def frame_score(
    statistic: float, reference: Sequence[float] | NDArray[np.float64], scale: float
) -> float:
    """Return the conformal score, extended beyond the largest reference value; >= 0.

    A conformal p-value cannot go below 1 / (n + 1), so that a van never seen before and a spiral
    would score the same. Beyond the sample the score grows as -log10 of an exponential tail of
    `scale` (`tail_scale`), up to twice the largest conformal score. The alarm threshold does not
    rest on this model: it is taken from the scores of whole normal sequences.
    """
    score = conformal_score(statistic, reference)
    if len(reference) and statistic > reference[-1]:
        limit = math.log10(len(reference) + 1)
        score += min((statistic - float(reference[-1])) / (scale * math.log(10)), limit)
    return score
