"""Lamp posts, sign posts and traffic signs."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import between, grain, pick, stream, vary

VARIANTS = 16
"""Signs, and lamp posts."""
POST_HEIGHT = 2.3


@lru_cache(maxsize=VARIANTS)
def lamp_post(variant: int) -> Sprite:
    """Return a lamp post 5 to 8 m high; its arm points to the right."""
    rng = stream('lamp post', variant)
    rows, columns = 256, 80
    alpha: UInt8Array = np.zeros((rows, columns), np.uint8)
    cv2.line(alpha, (40, 8), (40, rows), 255, 6)
    cv2.line(alpha, (40, rows - 40), (40, rows), 255, 9)
    if rng.random() < 0.7:
        cv2.ellipse(alpha, (56, 12), (16, 8), 0, 180, 330, 255, 4)
        cv2.rectangle(alpha, (60, 6), (78, 12), 255, -1)
    else:
        cv2.circle(alpha, (40, 10), 10, 255, -1, cv2.LINE_AA)
    gray = between(rng, 70, 150)
    surface = grain(rng, rows, columns, vary(rng, (gray, gray, gray), 0.15), 0.2)
    surface *= np.linspace(1.25, 0.7, columns, dtype=np.float32)[None, :, None]
    surface[6:13, 60:79] = 226
    height = between(rng, 5, 8)
    return Sprite(surface, alpha, height * columns / rows * 1.15, height, Label.POLE)


@lru_cache(maxsize=1)
def sign_post() -> Sprite:
    """Return the post under a sign."""
    rng = stream('sign post')
    surface = grain(rng, 96, 8, (134, 136, 138), 0.2)
    surface *= np.linspace(1.2, 0.7, 8, dtype=np.float32)[None, :, None]
    return Sprite(surface, np.full((96, 8), 255, np.uint8), 0.13, POST_HEIGHT, Label.POLE)


@lru_cache(maxsize=VARIANTS)
def sign(variant: int) -> Sprite:
    """Return a traffic sign 0.8 to 1.2 m wide: ring, triangle, octagon, blue plate or board."""
    rng = stream('sign', variant)
    surface = np.full((64, 64, 3), 210, np.float32)
    alpha: UInt8Array = np.zeros((64, 64), np.uint8)
    red, blue, white, black = (186, 28, 36), (26, 72, 152), (232, 232, 228), (24, 24, 26)
    kind = variant % 5

    def turned(count: int, radius: float, start: float) -> np.ndarray:
        angles = start + np.arange(count) * 2 * np.pi / count
        points = np.stack([32 + radius * np.cos(angles), 32 + radius * np.sin(angles)], 1)
        return np.asarray(points, np.int32)

    if kind == 0:
        cv2.circle(alpha, (32, 32), 30, 255, -1, cv2.LINE_AA)
        cv2.circle(surface, (32, 32), 31, red, -1)
        cv2.circle(surface, (32, 32), 21, white, -1, cv2.LINE_AA)
        for x in (20, 34):
            cv2.rectangle(surface, (x, 22), (x + 9, 42), black, 3)
    elif kind == 1:
        cv2.fillPoly(alpha, [turned(3, 34, -np.pi / 2)], 255, cv2.LINE_AA)
        cv2.fillPoly(surface, [turned(3, 37, -np.pi / 2)], red)
        cv2.fillPoly(surface, [turned(3, 21, -np.pi / 2)], white, cv2.LINE_AA)
        cv2.rectangle(surface, (30, 24), (34, 38), black, -1)
    elif kind == 2:
        cv2.fillPoly(alpha, [turned(8, 31, np.pi / 8)], 255, cv2.LINE_AA)
        cv2.fillPoly(surface, [turned(8, 32, np.pi / 8)], red)
        cv2.rectangle(surface, (12, 27), (52, 37), white, -1)
    elif kind == 3:
        cv2.rectangle(alpha, (3, 3), (60, 60), 255, -1)
        cv2.rectangle(surface, (0, 0), (63, 63), blue, -1)
        cv2.arrowedLine(surface, (32, 52), (32, 14), white, 6, cv2.LINE_AA, 0, 0.45)
    else:
        cv2.rectangle(alpha, (0, 10), (63, 50), 255, -1)
        board = ((30, 92, 58), blue, white)[pick(rng, 3)]
        cv2.rectangle(surface, (0, 0), (63, 63), board, -1)
        ink = black if board == white else white
        for y, end in ((20, 52), (30, 42), (40, 48)):
            cv2.line(surface, (8, y), (end, y), ink, 3)
    surface *= between(rng, 0.85, 1.05)
    size = between(rng, 0.8, 1.2)
    return Sprite(surface, alpha, size, size, Label.SIGN)
