"""Connected unknown regions of an anomaly map, and how strict a threshold they survive."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.frame import Float32Array


def find_regions(
    probability_map: Float32Array,
    threshold: float,
    min_area: int,
    scale_x: float,
    scale_y: float,
    extent: float | None = None,
) -> tuple[Region, ...]:
    """Return the 8-connected regions of `probability_map` (H/4, W/4) at or above `threshold`.

    Regions below `min_area` map pixels are dropped. With `extent`, a lower threshold, each region
    reaches as far as the pixels at or above it are connected (hysteresis), so that its box covers
    the object and not its core alone. Boxes and areas are in camera pixels, which are `scale_x`
    and `scale_y` times smaller than map pixels. Largest region first.
    """
    cores = _components(probability_map, threshold, min_area)
    if cores is None:
        return ()
    labels, stats, kept = cores
    if extent is not None and extent < threshold:
        wide = _components(probability_map, extent, min_area)
        assert wide is not None  # it holds the cores
        inside_cores = np.isin(labels, kept)
        labels, stats, _ = wide
        kept = np.unique(labels[inside_cores]).astype(np.int64)
    regions = []
    for label in kept:
        left, top, width, height, area = (int(value) for value in stats[label])
        window = np.s_[top : top + height, left : left + width]
        inside = probability_map[window][labels[window] == label]
        regions.append(
            Region(
                x=left * scale_x,
                y=top * scale_y,
                width=width * scale_x,
                height=height * scale_y,
                area=area * scale_x * scale_y,
                peak=float(inside.max()),
                mean=float(inside.mean()),
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.area))


def region_level(probability_map: Float32Array, min_area: int) -> float:
    """Return the highest threshold at which `find_regions` finds a region; 0 if none does.

    It is one of the values of `probability_map` (H/4, W/4).
    """
    values = np.unique(probability_map[probability_map > 0])
    low, high = 0, values.size
    # Invariant: a region exists at every value before `low`, at none from `high` on.
    while low < high:
        middle = (low + high) // 2
        if _components(probability_map, float(values[middle]), min_area) is None:
            high = middle
        else:
            low = middle + 1
    return float(values[low - 1]) if low else 0.0


def _components(
    probability_map: Float32Array, threshold: float, min_area: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]] | None:
    """Return labels, their statistics, and the labels that are large enough; None without any."""
    mask = probability_map >= np.float32(threshold)
    if np.count_nonzero(mask) < min_area:
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    large = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area)
    if not large.size:
        return None
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32), large
