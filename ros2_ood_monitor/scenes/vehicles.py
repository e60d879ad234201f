"""Cars, vans and lorries, as boxes with a side, a rear and a nose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import Color, between, fractal, pick, stream, vary

VARIANTS = 48
_SCALE = 48  # texels per metre

_PAINTS: tuple[Color, ...] = (
    (222, 224, 226),
    (178, 182, 186),
    (120, 124, 130),
    (44, 46, 52),
    (28, 30, 34),
    (146, 32, 34),
    (38, 62, 118),
    (70, 92, 128),
    (58, 84, 66),
    (158, 142, 112),
    (196, 196, 190),
    (96, 30, 38),
)
_GLASS: Color = (46, 54, 62)
_TYRE: Color = (30, 30, 32)


@dataclass(frozen=True)
class Vehicle:
    """The faces of one vehicle; `side` has its rear at the left, `side_reversed` its nose."""

    side: Sprite
    side_reversed: Sprite
    rear: Sprite
    nose: Sprite


@lru_cache(maxsize=VARIANTS)
def vehicle(variant: int) -> Vehicle:
    """Return one of VARIANTS vehicles."""
    rng = stream('vehicle', variant)
    paint = vary(rng, _PAINTS[pick(rng, len(_PAINTS))], 0.2)
    lorry = rng.random() < 0.2
    if lorry:
        length, width, height = between(rng, 5, 7.5), between(rng, 1.95, 2.3), between(rng, 2.3, 3)
        profile = [
            (0, 0.12),
            (0, 0.98),
            (0.02, 1),
            (0.78, 1),
            (0.84, 0.97),
            (0.95, 0.55),
            (1, 0.5),
            (1, 0.12),
        ]
        cabin = [(0.76, 0.6), (0.77, 0.88), (0.83, 0.88), (0.92, 0.6)]
    else:
        length, width, height = (
            between(rng, 3.7, 4.8),
            between(rng, 1.7, 1.9),
            between(rng, 1.4, 1.75),
        )
        back = between(rng, 0.02, 0.16)
        profile = [
            (0, 0.18),
            (0, 0.52),
            (back * 0.4, 0.6),
            (back + 0.06, 0.97),
            (0.2 + back, 1),
            (0.5, 0.99),
            (0.7, 0.62),
            (0.96, 0.52),
            (1, 0.42),
            (1, 0.18),
        ]
        cabin = [(back + 0.04, 0.64), (back + 0.1, 0.9), (0.3, 0.92), (0.49, 0.91), (0.65, 0.64)]
    side = _side(rng, paint, length, height, profile, cabin)
    rear, nose = (
        _face(rng, paint, width, height, lorry, back_side) for back_side in (True, False)
    )
    return Vehicle(side, side.mirrored(), rear, nose)


def _body(rng: np.random.Generator, rows: int, columns: int, paint: Color) -> Float32Array:
    """Return lacquer: lighter above, with soft reflections."""
    shine = np.interp(
        np.arange(rows), [0, rows * 0.35, rows * 0.55, rows], [1.15, 1.05, 0.92, 0.7]
    ).astype(np.float32)
    reflection = 1 + 0.3 * (fractal(rng, rows, columns, 40, 3) - 0.5)
    surface = np.asarray(paint, np.float32) * (shine[:, None] * reflection)[..., None]
    return np.asarray(surface + 14, np.float32)


def _polygon(points: list[tuple[float, float]], rows: int, columns: int) -> np.ndarray:
    return np.array([(x * (columns - 1), (1 - y) * (rows - 1)) for x, y in points], np.int32)


def _side(
    rng: np.random.Generator,
    paint: Color,
    length: float,
    height: float,
    profile: list[tuple[float, float]],
    cabin: list[tuple[float, float]],
) -> Sprite:
    rows, columns = int(height * _SCALE), int(length * _SCALE)
    surface = _body(rng, rows, columns, paint)
    alpha: UInt8Array = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(alpha, [_polygon(profile, rows, columns)], 255, cv2.LINE_AA)
    cv2.fillPoly(surface, [_polygon(cabin, rows, columns)], vary(rng, _GLASS, 0.3), cv2.LINE_AA)
    pillar = int(columns * (cabin[0][0] + cabin[-1][0]) / 2)
    cv2.line(surface, (pillar, 0), (pillar, int(rows * 0.36)), tuple(paint), 3)
    for door in (0.36, 0.62):
        cv2.line(
            surface,
            (int(columns * door), int(rows * 0.4)),
            (int(columns * door), int(rows * 0.78)),
            tuple(0.6 * c for c in paint),
            1,
        )
    surface[int(rows * 0.8) :] *= np.float32(0.6)
    radius = int(0.32 * _SCALE)
    for axle in (0.19, 0.81):
        center = (int(columns * axle), rows - radius)
        cv2.circle(surface, center, radius + 3, (18, 18, 20), -1, cv2.LINE_AA)
        cv2.circle(surface, center, radius, _TYRE, -1, cv2.LINE_AA)
        cv2.circle(surface, center, int(radius * 0.6), (138, 140, 144), -1, cv2.LINE_AA)
        cv2.circle(alpha, center, radius, 255, -1, cv2.LINE_AA)
    return Sprite(surface, alpha, length, height, Label.CAR)


def _face(
    rng: np.random.Generator, paint: Color, width: float, height: float, lorry: bool, rear: bool
) -> Sprite:
    rows, columns = int(height * _SCALE), int(width * _SCALE)
    surface = _body(rng, rows, columns, paint)
    inset = 0.01 if lorry else 0.13
    outline = [
        (0, 0.16),
        (0, 0.5),
        (0.02, 0.6),
        (inset, 0.96),
        (inset + 0.08, 1),
        (0.92 - inset, 1),
        (1 - inset, 0.96),
        (0.98, 0.6),
        (1, 0.5),
        (1, 0.16),
    ]
    alpha: UInt8Array = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(alpha, [_polygon(outline, rows, columns)], 255, cv2.LINE_AA)
    for wheel in (0.02, 0.82):
        cv2.rectangle(
            alpha,
            (int(columns * wheel), int(rows * 0.75)),
            (int(columns * (wheel + 0.16)), rows - 1),
            255,
            -1,
        )
        cv2.rectangle(
            surface,
            (int(columns * wheel), int(rows * 0.84)),
            (int(columns * (wheel + 0.16)), rows - 1),
            _TYRE,
            -1,
        )
    if not (lorry and rear):
        window = [(0.1, 0.62), (inset + 0.05, 0.93), (0.95 - inset, 0.93), (0.9, 0.62)]
        cv2.fillPoly(
            surface, [_polygon(window, rows, columns)], vary(rng, _GLASS, 0.3), cv2.LINE_AA
        )
    lamp: Color = (196, 26, 24) if rear else (248, 244, 222)
    low, high = (0.42, 0.53) if not lorry else (0.18, 0.26)
    for left in (0.03, 0.81):
        cv2.rectangle(
            surface,
            (int(columns * left), int(rows * (1 - high))),
            (int(columns * (left + 0.16)), int(rows * (1 - low))),
            tuple(lamp),
            -1,
        )
    plate: Color = (226, 226, 220) if rear else (60, 62, 66)
    cv2.rectangle(
        surface,
        (int(columns * 0.36), int(rows * 0.64)),
        (int(columns * 0.64), int(rows * 0.72)),
        tuple(plate),
        -1,
    )
    surface[int(rows * 0.78) :] *= np.float32(0.65)  # bumper and shade
    return Sprite(surface, alpha, width, height, Label.CAR)
