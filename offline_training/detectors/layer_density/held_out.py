"""Which frames a detector learns from and which it is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline_training.data.frames import Frames

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


def chosen_batches(
    frames: Frames, chosen: Indices, size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the chosen frames as `Frames.batches` does, reading no others."""
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        subset = Frames([frames.images[i] for i in part], [frames.labels[i] for i in part])
        yield from subset.batches(size, device)
