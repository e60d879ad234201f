"""Samples of normal values small enough for a manifest, and scores against them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.inference.fusion import tail_scale

Float = NDArray[np.float64]

LARGEST_REFERENCE = 4000
"""Values of a reference in a manifest; hours of driving say no more about its p-values."""


def thinned(values: Float, count: int = LARGEST_REFERENCE) -> Float:
    """Return at most `count` of the values (N,), ascending, that stand for all of them.

    The sorted values are cut into `count` groups of equal size and the largest of each is kept. So
    the largest of all stays, and no p-value gets smaller by it.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if ordered.size <= count:
        return ordered
    ends = np.ceil(np.arange(1, count + 1) * (ordered.size / count)).astype(np.int64)
    kept: Float = ordered[np.minimum(ends, ordered.size) - 1]
    return kept


def pooled(samples: Sequence[Float], count: int = LARGEST_REFERENCE) -> Float:
    """Return the thinned sample of all `samples`, each thinned by the same factor before.

    Never more than a few times `count` values are held at once, however long the samples are.
    """
    total = sum(each.size for each in samples)
    kept = [thinned(each, max(1, math.ceil(4 * count * each.size / total))) for each in samples]
    return thinned(np.concatenate(kept), count)


def frame_scores(values: Float, reference: Float) -> Float:
    """Return `inference.fusion.frame_score` of each of the values (N,); >= 0."""
    count = reference.size
    at_least = count - np.searchsorted(reference, values, side='left')
    scores = np.log10((count + 1) / (1 + at_least))
    excess = np.maximum(values - reference[-1], 0.0) / (tail_scale(reference) * math.log(10))
    result: Float = scores + np.minimum(excess, math.log10(count + 1))
    return result
