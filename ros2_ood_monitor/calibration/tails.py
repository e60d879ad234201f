"""How often a maximum reaches a level: an exponential tail over the highest blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

TAIL_SHARE = 0.05
LEAST_TAIL = 10
"""Blocks that a tail is fitted on: this share of all, but at least so many."""
PER_SEQUENCE = 3
"""Blocks of one sequence resemble each other: they count as so many independent ones."""
LEAST_SCALE = 0.02
"""Maxima that are all alike do not prove that the next one is."""


@dataclass(frozen=True)
class Tail:
    """Levels from `start` on are reached `rate` * exp(-(level - start) / scale) times an hour.

    The scale is an estimate itself. What counts is the predictive distribution, an exponential
    mixed over what the scale may be: (1 + (level - start) / (scale * n)) ** -n.
    """

    start: float
    scale: float
    rate: float
    observations: float
    """How many independent ones the scale rests on."""

    def level(self, per_hour: float) -> float:
        """Return the level that is reached `per_hour` times an hour, at least `start`."""
        reach = max(0.0, math.log(self.rate / per_hour))
        return self.start + self.scale * self.observations * math.expm1(reach / self.observations)

    def per_hour(self, level: float) -> float:
        """Return how often `level` is reached; more often than stated below `start`."""
        excess = max(0.0, level - self.start) / self.scale
        rarer: float = (1 + excess / self.observations) ** -self.observations
        return self.rate * rarer


def fit_tail(blocks: Sequence[Float], hours: float) -> Tail:
    """Fit the tail of block maxima, one array (B,) per sequence, of `hours` together.

    What happens in one sequence says little about the next: the rate is the one that would be
    found if one more sequence were as bad as the worst. With equally good sequences that changes
    little, with a single bad one nearly doubles it.
    """
    pooled = np.concatenate(blocks)
    count = min(pooled.size - 1, max(LEAST_TAIL, math.ceil(TAIL_SHARE * pooled.size)))
    start = float(np.partition(pooled, pooled.size - count - 1)[pooled.size - count - 1])
    above = [each[each > start] - start for each in blocks]
    excess = np.concatenate(above)
    scale = max(float(excess.mean()) if excess.size else 0.0, LEAST_SCALE)
    worst = max(each.size for each in above)
    more = 1 + 1 / len(blocks)
    rate = max(1.0, (excess.size + worst) / more) / hours
    return Tail(start, scale, rate, PER_SEQUENCE * len(blocks))
