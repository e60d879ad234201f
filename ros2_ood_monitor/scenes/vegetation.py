"""Trees, bushes and hedges."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import Color, between, fractal, grain, pick, stream, vary

VARIANTS = 32

_LEAVES: tuple[Color, ...] = (
    (74, 98, 46),
    (92, 112, 54),
    (62, 86, 50),
    (104, 118, 62),
    (84, 104, 40),
    (122, 112, 56),
)


@lru_cache(maxsize=VARIANTS)
def tree(variant: int) -> Sprite:
    """Return a broad-leaved tree or a conifer, 5 to 11 m high."""
    rng = stream('tree', variant)
    rows, columns = 176, 144
    conifer = rng.random() < 0.25
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    field = np.full((rows, columns), -1.0, np.float32)
    light = np.zeros((rows, columns), np.float32)
    if conifer:
        half = (y - 4) / rows * columns * 0.36 * (0.85 + 0.15 * np.abs(np.sin(y / 9)))
        field = 1 - np.abs(x - columns / 2) / np.maximum(half, 1)
        field[int(rows * 0.92) :] = -1
        light = (columns / 2 - x) / columns + 0.25 * np.sin(y / 9)
    else:
        for _ in range(16):
            turn, reach = 2 * math.pi * rng.random(), math.sqrt(rng.random())
            center_x = columns * (0.5 + 0.28 * reach * math.cos(turn))
            center_y = rows * (0.36 + 0.22 * reach * math.sin(turn))
            radius = columns * between(rng, 0.11, 0.2)
            blob = 1 - np.hypot(x - center_x, y - center_y) / radius
            nearer = blob > field
            field[nearer] = blob[nearer]
            light[nearer] = ((center_y - y) / radius * 0.8 + (center_x - x) / radius * 0.3)[nearer]
    leaves = fractal(rng, rows, columns, 12, 3)
    canopy = (field + 1.3 * (leaves - 0.55) > 0) & (field > -0.25)  # no leaf floats alone
    color = vary(rng, _LEAVES[pick(rng, len(_LEAVES))], 0.25)
    surface = grain(rng, rows, columns, color, 0.5)
    surface *= (0.9 + 0.3 * np.clip(light, -1, 1) + 1.1 * (leaves - 0.5))[..., None]
    alpha = np.zeros((rows, columns), np.uint8)
    trunk = np.array(
        [
            [columns * 0.46, rows],
            [columns * 0.54, rows],
            [columns * 0.52, rows * 0.45],
            [columns * 0.48, rows * 0.45],
        ],
        np.int32,
    )
    cv2.fillPoly(alpha, [trunk], 255)
    bark = grain(rng, rows, columns, vary(rng, (92, 74, 58), 0.2), 0.5)
    surface = np.where(canopy[..., None], surface, bark)
    alpha[canopy] = 255
    height = between(rng, 5, 11)
    soft = np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0), np.uint8)
    return Sprite(surface, soft, height * columns / rows, height, Label.TREE)


@lru_cache(maxsize=VARIANTS)
def bush(variant: int) -> Sprite:
    """Return a bush 1 to 2.2 m high."""
    rng = stream('bush', variant)
    rows, columns = 64, 112
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    leaves = fractal(rng, rows, columns, 12, 3)
    reach = np.hypot((x - columns / 2) / (columns * 0.46), (y - rows) / (rows * 0.88))
    solid = 1 - reach + 0.8 * (leaves - 0.5) > 0
    surface = grain(rng, rows, columns, vary(rng, _LEAVES[pick(rng, len(_LEAVES))], 0.25), 0.5)
    surface *= (1.15 - 0.45 * y / rows + 1.1 * (leaves - 0.5))[..., None]
    alpha = np.asarray(cv2.GaussianBlur(solid.astype(np.uint8) * 255, (3, 3), 0), np.uint8)
    height = between(rng, 1.0, 2.2)
    return Sprite(surface, alpha, height * between(rng, 1.5, 2.4), height, Label.TREE)
