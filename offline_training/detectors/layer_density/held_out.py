"""Which frames a detector learns from and which it is calibrated on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 4
"""One quarter of the frames is held out."""
MIN_FRAMES = 8

Indices = NDArray[np.intp]


def split(count: int) -> tuple[Indices, Indices]:
    """Return the indices of the frames to learn from and of those held out, the first quarter.

    One piece, because frames are in order of drives: a quarter picked here and there shows roads
    that have been learnt by heart, and what is calibrated on it trusts them too much.

    Raises:
        ValueError: fewer than `MIN_FRAMES` frames.
    """
    if count < MIN_FRAMES:
        raise ValueError(f'{count} frames are too few; fit on {MIN_FRAMES} at least')
    first = count // HELD_OUT
    return np.arange(first, count), np.arange(first)


def thinned(chosen: Indices, most: int) -> Indices:
    """Return at most `most` of the chosen frames, evenly spread."""
    places = np.linspace(0, len(chosen) - 1, min(most, len(chosen)))
    return chosen[places.round().astype(np.intp)]
