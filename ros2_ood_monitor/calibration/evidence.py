"""The evidence of a CUSUM rule over whole sequences, by blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

CHUNK = 1 << 16
"""Frames that are accumulated at once, so that hours need no more memory than minutes."""


def evidence(scores: Float, drift: float, start: float = 0.0) -> Float:
    """Return S of each frame: S = max(0, S + score - drift), from `start` on; shapes (N,).

    Steps are not capped here, as the cap depends on the threshold that is looked for: the evidence
    is never below that of `supervision.cusum.Cusum` before its first alarm.
    """
    walk = start + np.cumsum(scores - drift)
    result: Float = walk - np.minimum(0.0, np.minimum.accumulate(walk))
    return result


def block_maxima(scores: Float, drift: float, length: int) -> Float:
    """Return the highest evidence of every block of `length` frames (B,); the last may be shorter.

    A last block of less than half the length counts to the one before.
    """
    per_chunk = max(1, CHUNK // length) * length
    maxima: list[Float] = []
    last = 0.0
    for first in range(0, len(scores), per_chunk):
        grown = evidence(scores[first : first + per_chunk], drift, last)
        last = float(grown[-1])
        maxima.append(maxima_of(grown, length))
    return _joined(np.concatenate(maxima), len(scores), length)


def maxima_of(values: Float, length: int) -> Float:
    """Return the maximum of every `length` of the values (N,), the last ones may be fewer."""
    result: Float = np.maximum.reduceat(values, np.arange(0, len(values), length))
    return result


def _joined(maxima: Float, frames: int, length: int) -> Float:
    rest = frames % length
    if len(maxima) > 1 and 0 < rest < length / 2:
        maxima[-2] = max(maxima[-2:])
        return maxima[:-1]
    return maxima
