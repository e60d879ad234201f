"""A second look at the most unusual part of an image, enlarged: far objects are small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.frame import Float32Array, UInt8Array

ENLARGED = 2
"""The window has this part of the rows and columns of the image."""
SMOOTHED = 3
"""Side in map pixels of the mean that the window is chosen by: a lone pixel is no object."""


@dataclass(frozen=True)
class Window:
    """A part of an image, in shares of its height and width."""

    top: float
    left: float
    height: float = 1 / ENLARGED
    width: float = 1 / ENLARGED

    def slices(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Return where the window is in an array (H, W, ...)."""
        rows, columns = shape[:2]
        top, left = round(self.top * rows), round(self.left * columns)
        bottom = round((self.top + self.height) * rows)
        right = round((self.left + self.width) * columns)
        return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def most_unusual(anomaly: Float32Array) -> Window:
    """Return the window around the highest mean of neighbours of a map (H/4, W/4), inside it."""
    smooth = cv2.blur(anomaly, (SMOOTHED, SMOOTHED), borderType=cv2.BORDER_REPLICATE)
    rows, columns = anomaly.shape
    row, column = divmod(int(np.argmax(smooth)), columns)
    height, width = rows // ENLARGED, columns // ENLARGED
    top = min(max(0, row - height // 2), rows - height)
    left = min(max(0, column - width // 2), columns - width)
    return Window(top / rows, left / columns, height / rows, width / columns)


def with_window(anomaly: Float32Array, window: Window, seen: Float32Array) -> Float32Array:
    """Return `anomaly` (H/4, W/4) with what was `seen` (H/4, W/4) in a window where that is more.

    The result is a map to look at: inside the window two maps are mixed.
    """
    place = window.slices(anomaly.shape)
    merged: Float32Array = anomaly.copy()
    rows, columns = merged[place].shape
    # The highest of the pixels that become one: a small object must not be averaged away.
    highest = cv2.dilate(seen, np.ones((ENLARGED, ENLARGED), np.uint8), anchor=(0, 0))
    smaller = cv2.resize(highest, (columns, rows), interpolation=cv2.INTER_NEAREST)
    np.maximum(merged[place], np.asarray(smaller, np.float32), out=merged[place])
    return merged


def inside(region_of_interest: UInt8Array, window: Window) -> UInt8Array:
    """Return the part of a region of interest (H/4, W/4) in a window, as large as the whole."""
    part = region_of_interest[window.slices(region_of_interest.shape)]
    size = region_of_interest.shape[::-1]
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def moved(regions: Iterable[Region], x: float, y: float) -> tuple[Region, ...]:
    """Return regions of a window whose upper left corner is at (x, y) in the image."""
    return tuple(replace(each, x=each.x + x, y=each.y + y) for each in regions)


def with_new(first: Sequence[Region], second: Iterable[Region]) -> tuple[Region, ...]:
    """Return the regions of the first look and those of the second that meet none of them.

    Largest first.
    """
    new = [each for each in second if not any(map(each.overlaps, first))]
    return tuple(sorted((*first, *new), key=lambda region: -region.area))
