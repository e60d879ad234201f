"""From values to places in a chart's view box, and paths without needless points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.pages.numbers import coordinate

TOLERANCE = 0.25
"""How far a drawn curve may be from its points, in units of the view box."""


@dataclass(frozen=True)
class Axes:
    """Maps values to the view box `width` x `height`; the margins hold ticks and labels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float
    height: float
    margins: tuple[float, float, float, float] = (10, 12, 42, 50)
    """Top, right, bottom, left."""
    log_x: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plotted area."""
        top, right, bottom, left = self.margins
        return left, top, self.width - right, self.height - bottom

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a value lies in the view box."""
        left, top, right, bottom = self.box
        low, high = self.x
        if self.log_x:
            x, low, high = math.log(x), math.log(low), math.log(high)
        across = (x - low) / (high - low)
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def path(self, points: Iterable[Sequence[float]]) -> str:
        """Return the `d` of a path through the points, without those that change nothing."""
        places = np.array([self.at(x, y) for x, y in points], dtype=np.float64)
        return 'M' + 'L'.join(f'{coordinate(x)} {coordinate(y)}' for x, y in simplified(places))


def simplified(points: NDArray[np.float64], tolerance: float = TOLERANCE) -> NDArray[np.float64]:
    """Return the points (M, 2) that keep a curve (N, 2) within `tolerance`.

    Ramer 1972; Douglas & Peucker 1973.
    """
    if len(points) < 3:
        return points
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        along = points[last] - points[first]
        offset = points[first + 1 : last] - points[first]
        square = float(along @ along)
        # From the segment, not the line through it: a path may turn back on itself.
        share = np.clip(offset @ along / square, 0, 1) if square else np.zeros(len(offset))
        distance = np.hypot(*(offset - share[:, None] * along).T)
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return points[keep]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten in low..high, both above 0."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [value for value in values if low <= value <= high]
