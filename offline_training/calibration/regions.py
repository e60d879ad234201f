"""From which probability on connected pixels are a region, learned from normal frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.inference.regions import find_regions


def region_threshold(
    probabilities: Sequence[NDArray[np.float32]], least: float, min_area: int, rate: float = 0.02
) -> float:
    """Return the lowest threshold >= `least` that gives regions in <= `rate` of normal frames."""
    grid = [least, *(t for t in (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999) if t > least)]

    def regions(probability: NDArray[np.float32], threshold: float) -> tuple[Region, ...]:
        return find_regions(probability, threshold, min_area, 1.0, 1.0)

    for threshold in grid:
        alarmed = sum(bool(regions(map_, threshold)) for map_ in probabilities)
        if alarmed <= rate * len(probabilities):
            return threshold
    return grid[-1]
