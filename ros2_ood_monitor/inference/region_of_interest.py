"""Where unknown regions are sought: below a horizon, inside a polygon, or everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.parameter import ParameterError, Value
from ros2_ood_monitor.polygon import Point, read_polygon

_FRACTION_BITS = 8
"""OpenCV takes corners in units of 1/256 pixel."""


def region_of_interest(bundle: ModelBundle, parameters: Mapping[str, Value]) -> UInt8Array | None:
    """Return 1 where regions are sought and 0 elsewhere, (H/4, W/4); None for everywhere.

    Raises ParameterError if that leaves no room for the smallest region of `bundle`.
    """
    horizon = float(parameters['region_of_interest.horizon'])
    corners = read_polygon(str(parameters['region_of_interest.polygon']))
    if horizon == 0 and not corners:
        return None
    inside = _below(horizon, bundle.map_size)
    if corners:
        inside &= _within(corners, bundle.map_size)
    room, needed = int(inside.sum()), bundle.regions.min_area
    if room < needed:
        raise ParameterError(
            f'region_of_interest leaves {room} pixels of the anomaly map, and the smallest region '
            f'of the bundle {bundle.name} has {needed}; choose a smaller horizon or a larger '
            'polygon'
        )
    return inside


def _below(horizon: float, size: tuple[int, int]) -> UInt8Array:
    """Mark the rows whose centres are at or below the share `horizon` of the height."""
    inside = np.zeros(size, np.uint8)
    inside[max(0, math.ceil(horizon * size[0] - 0.5)) :] = 1
    return inside


def _within(corners: tuple[Point, ...], size: tuple[int, int]) -> UInt8Array:
    """Mark the pixels inside the polygon and on its border."""
    rows, columns = size
    # Whole numbers are the centres of pixels here.
    pixels = np.array(corners) * (columns, rows) - 0.5
    inside = np.zeros(size, np.uint8)
    points = np.rint(pixels * 2**_FRACTION_BITS).astype(np.int32)
    cv2.fillPoly(inside, [points], (1,), shift=_FRACTION_BITS)
    return inside
