"""Scalars of normal frames, one array per statistic; a sequence is the unit of calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

REGION_LEVEL = 'region level'
"""Name of the highest probability at which a frame has a region (`regions.region_level`)."""
SECOND_LEVEL = 'second level'
"""Likewise in the window of a second look."""
LEVELS = (REGION_LEVEL, SECOND_LEVEL)
LEAST_GAP_S = 60.0
"""Parts of one recording count as sequences of their own if they are this far apart."""


@dataclass(frozen=True)
class NormalSequence:
    """Frames of normal driving that follow each other at the frame rate of the calibration.

    Frames of one sequence resemble each other, those of different sequences do not: a sequence is
    a recording, or a part of one that is at least a minute from the next part. `values` holds a
    float64 (N,) for each statistic (`bundle.manifest.statistic_names`) and for `REGION_LEVEL`.
    """

    values: Mapping[str, Float]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


def parts(stamps_s: Float) -> Iterator[slice]:
    """Yield the parts of a recording between which no frame came for a minute.

    `stamps_s` (N,) are the times of its frames in seconds, in order.
    """
    cuts = np.flatnonzero(np.diff(stamps_s) >= LEAST_GAP_S) + 1
    for start, stop in zip((0, *cuts), (*cuts, len(stamps_s)), strict=True):
        if stop > start:
            yield slice(int(start), int(stop))


def hours(sequences: Sequence[NormalSequence], frame_rate: float) -> float:
    """Return how long the sequences are together."""
    return sum(map(len, sequences)) / frame_rate / 3600
