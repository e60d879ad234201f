"""The one schedule of learning rates: a rise, a fall, and where both end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """The multiple of the peak learning rate as a function of the progress of a training, 0..1.

    One-cycle (Smith and Topin 2018) is a cosine rise and a cosine fall; `poly` falls as
    (1 - t) ** 0.9 (DeepLab).
    """

    fall: Literal['cosine', 'poly', 'constant'] = 'cosine'
    warmup: float = 0.0
    """Share of the training in which the rate rises."""
    rise: Literal['linear', 'cosine'] = 'linear'
    start: float = 0.01
    """Multiple that the rise begins at."""
    floor: float = 0.0
    """Multiple that the fall ends at, of a cosine."""
    holds: int | None = None
    """Equal parts of the training in each of which the rate stays what it is at its start."""

    def __call__(self, progress: float) -> float:
        """Return the multiple at `progress` in 0..1."""
        if self.holds is not None:
            progress = math.floor(progress * self.holds + 1e-6) / self.holds
        if progress < self.warmup:
            share = progress / self.warmup
            if self.rise == 'cosine':
                share = (1 - math.cos(math.pi * share)) / 2
            return self.start + (1 - self.start) * share
        share = min((progress - self.warmup) / (1 - self.warmup), 1.0)
        if self.fall == 'constant':
            return 1.0
        if self.fall == 'poly':
            return float(max(1 - share, 1e-3) ** 0.9)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2


CONSTANT = Schedule('constant')
WARM_COSINE = Schedule('cosine', warmup=0.03)
