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
) -> tuple[Region, ...]:
    """Return the 8-connected regions of `probability_map` (H/4, W/4) at or above `threshold`.

    Regions below `min_area` map pixels are dropped. Boxes and areas are in camera pixels, which
    are `scale_x` and `scale_y` times smaller than map pixels. Largest region first.
    """
    found = _components(probability_map, threshold, min_area)
    return () if found is None else _regions(probability_map, *found, scale_x, scale_y)


def strict_and_sensitive_regions(
    probability_map: Float32Array,
    strict: float,
    sensitive: float,
    min_area: int,
    scale_x: float,
    scale_y: float,
) -> tuple[tuple[Region, ...], tuple[Region, ...]]:
    """Return the regions at the `strict` and at the lower `sensitive` threshold; see above.

    The strict ones are those of the sensitive ones that hold a region of the strict threshold
    (hysteresis), so that a box covers the object and not its core alone.
    """
    wide = _components(probability_map, sensitive, min_area)
    if wide is None:
        return (), ()
    labels, stats, kept = wide
    cores = _components(probability_map, strict, min_area)
    with_core = np.empty(0, np.int64)
    if cores is not None:
        with_core = np.unique(labels[np.isin(cores[0], cores[2])]).astype(np.int64)
    scale = scale_x, scale_y
    return (
        _regions(probability_map, labels, stats, with_core, *scale),
        _regions(probability_map, labels, stats, kept, *scale),
    )


def _regions(
    probability_map: Float32Array,
    labels: NDArray[np.int32],
    stats: NDArray[np.int32],
    kept: NDArray[np.int64],
    scale_x: float,
    scale_y: float,
) -> tuple[Region, ...]:
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
