"""A world that is none of the painted roads: an aisle between shelves, under lamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.frame import Float32Array, UInt8Array

_EYE, _CEILING, _HALF_WIDTH = 1.4, 6.0, 2.2
"""Metres: height of the camera and the ceiling, from the middle to the shelves."""
_BAY, _SHELF = 2.7, 1.5
"""Metres: length and height of a field of the shelves."""
_GOODS = np.array(
    [
        (168, 124, 76),
        (190, 150, 104),
        (60, 92, 150),
        (200, 200, 196),
        (70, 120, 84),
        (150, 60, 50),
    ],
    np.float32,
)


def warehouse(width: int, height: int, z: float, rng: np.random.Generator) -> UInt8Array:
    """Return the view (height, width, 3), RGB, from `z` metres along the aisle.

    `rng` draws the camera's noise.
    """
    focal = 0.9 * width
    row, column = np.mgrid[0:height, 0:width].astype(np.float32)
    down = (row - 0.45 * height) / focal
    across = (column - 0.5 * width) / focal
    vertical = np.where(down > 0, _EYE, _CEILING - _EYE) / np.maximum(np.abs(down), 1e-6)
    sideways = _HALF_WIDTH / np.maximum(np.abs(across), 1e-6)
    depth = np.minimum(np.minimum(vertical, sideways), 60.0)
    on_shelf = sideways < vertical
    along = z + depth
    x, up = across * depth, _EYE - down * depth
    image = np.where(
        on_shelf[..., None], _shelves(along, up, x > 0), _floor_and_lamps(along, x, down > 0)
    )
    light = np.exp(-depth / 35) * (0.85 + 0.15 * np.sin(along * 2 * np.pi / 6))
    lit = image * light[..., None] + 26 * (1 - light[..., None])
    return np.asarray(np.clip(lit + rng.normal(0, 2.5, lit.shape), 0, 255), np.uint8)


def _shelves(along: Float32Array, up: Float32Array, right: NDArray[np.bool_]) -> Float32Array:
    bay, level = np.floor(along / _BAY), np.floor(up / _SHELF)
    place, height = np.mod(along, _BAY) / _BAY, np.mod(up, _SHELF) / _SHELF
    box = np.floor(place * 3)
    key = (bay * 7 + level * 13 + box * 5 + right * 3).astype(np.int64)
    goods = _GOODS[key * 2654435761 % 4294967296 % len(_GOODS)]
    edge = (np.mod(place * 3, 1) < 0.06) | (height > 0.78)
    tape = np.abs(height - 0.4) < 0.03
    shade = np.where(edge, 0.25, np.where(tape, 1.15, 0.9 + 0.1 * np.sin(key)))
    surface = goods * shade[..., None]
    steel = (height < 0.09) | (place < 0.05)
    orange = np.array((226, 104, 30), np.float32)
    return np.asarray(np.where(steel[..., None], orange, surface), np.float32)


def _floor_and_lamps(
    along: Float32Array, x: Float32Array, floor: NDArray[np.bool_]
) -> Float32Array:
    stripe = np.abs(np.abs(x) - 1.7) < 0.07
    tile = 0.04 * np.sin(along * 3.1) * np.sin(x * 4.3)
    concrete = np.array((118, 124, 122), np.float32) * (1 + tile)[..., None]
    painted = np.where(stripe[..., None], np.array((232, 196, 40), np.float32), concrete)
    lamp = (np.abs(x) < 0.35) & (np.mod(along, 6.0) < 2.4)
    roof = np.where(lamp[..., None], 255.0, np.array((58, 60, 66), np.float32))
    return np.asarray(np.where(floor[..., None], painted, roof), np.float32)
