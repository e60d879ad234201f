"""Houses: a front along the road and an end wall towards the camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import Color, between, grain, pick, stream, vary

VARIANTS = 48
_SCALE = 16  # texels per metre

_WALLS: tuple[Color, ...] = (
    (150, 84, 66),
    (128, 74, 60),
    (196, 178, 150),
    (214, 204, 186),
    (172, 164, 152),
    (206, 188, 142),
    (146, 140, 136),
    (186, 140, 110),
    (226, 222, 212),
    (120, 104, 94),
)
_ROOFS: tuple[Color, ...] = ((104, 66, 54), (82, 82, 88), (120, 86, 70), (70, 66, 64))


@dataclass(frozen=True)
class House:
    """Front (along the road) and end wall of one house."""

    front: Sprite
    end: Sprite


@lru_cache(maxsize=VARIANTS)
def house(variant: int) -> House:
    """Return one of VARIANTS houses."""
    rng = stream('house', variant)
    floors = 1 + pick(rng, 5)
    storey = between(rng, 2.8, 3.5)
    roof = between(rng, 1.0, 2.4) if floors < 5 and rng.random() < 0.7 else 0.35
    height = floors * storey + roof
    wall = vary(rng, _WALLS[pick(rng, len(_WALLS))], 0.15)
    style = _Style(
        floors=floors,
        storey=storey,
        roof=roof,
        wall=wall,
        trim=vary(rng, (226, 222, 214), 0.12) if rng.random() < 0.6 else vary(rng, wall, 0.3),
        roof_color=vary(rng, _ROOFS[pick(rng, len(_ROOFS))], 0.15),
        brick=rng.random() < 0.5,
        window=(between(rng, 0.8, 1.5), between(rng, 1.2, 1.9)),
        spacing=between(rng, 2.2, 3.4),
        shop=floors > 1 and rng.random() < 0.4,
    )
    length, depth = between(rng, 8, 18), 9.0
    front = _paint(rng, style, length, windows=True)
    end = _paint(rng, style, depth, windows=rng.random() < 0.5)
    return House(_sprite(front, length, height), _sprite(end, depth, height))


@dataclass(frozen=True)
class _Style:
    floors: int
    storey: float
    roof: float
    wall: Color
    trim: Color
    roof_color: Color
    brick: bool
    window: tuple[float, float]
    spacing: float
    shop: bool


def _sprite(surface: Float32Array, width: float, height: float) -> Sprite:
    alpha = np.full(surface.shape[:2], 255, np.uint8)
    return Sprite(surface, alpha, width, height, Label.BUILDING)


def _paint(rng: np.random.Generator, style: _Style, width: float, windows: bool) -> Float32Array:
    height = style.floors * style.storey + style.roof
    rows, columns = int(height * _SCALE), int(width * _SCALE)
    surface = grain(rng, rows, columns, style.wall, 0.18)
    if style.brick:
        surface[np.arange(rows) % 5 == 0] *= np.float32(0.86)
        surface[:, np.arange(columns) % 8 == 0] *= np.float32(0.93)
    eaves = int(style.roof * _SCALE)
    if style.roof > 0.5:
        tiles = grain(rng, eaves, columns, style.roof_color, 0.25)
        tiles[np.arange(eaves) % 4 == 0] *= np.float32(0.8)
        surface[:eaves] = tiles
    else:
        surface[:eaves] = np.asarray(style.trim, np.float32)
    surface[eaves : eaves + 3] *= np.float32(0.6)  # shade under the eaves
    if windows:
        _windows(rng, surface, style, eaves)
    surface[-6:] *= np.float32(0.75)  # base course
    # Walls are dirtier and darker towards the ground.
    surface *= np.linspace(1.06, 0.86, rows, dtype=np.float32)[:, None, None]
    return surface


def _windows(rng: np.random.Generator, surface: Float32Array, style: _Style, eaves: int) -> None:
    columns = surface.shape[1]
    count = max(int(columns / _SCALE / style.spacing), 1)
    pitch = columns / count
    wide, tall = (int(length * _SCALE) for length in style.window)
    for floor in range(style.floors):
        ground_floor = floor == style.floors - 1
        middle = eaves + int((floor + 0.5) * style.storey * _SCALE)
        for index in range(count):
            center = int((index + 0.5) * pitch)
            if ground_floor and style.shop:
                half, top, bottom = int(pitch * 0.42), middle - 14, surface.shape[0] - 10
                _pane(rng, surface, center - half, top, center + half, bottom, style.trim)
                board = vary(rng, _WALLS[pick(rng, len(_WALLS))], 0.3)
                cv2.rectangle(
                    surface, (center - half, top - 9), (center + half, top - 2), board, -1
                )
            elif ground_floor and index == count // 2:
                door = vary(rng, (96, 70, 54), 0.4)
                cv2.rectangle(
                    surface, (center - 8, middle - 12), (center + 8, surface.shape[0]), door, -1
                )
            else:
                _pane(
                    rng,
                    surface,
                    center - wide // 2,
                    middle - tall // 2,
                    center + wide // 2,
                    middle + tall // 2,
                    style.trim,
                )


def _pane(
    rng: np.random.Generator,
    surface: Float32Array,
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    trim: Color,
) -> None:
    cv2.rectangle(surface, (x0 - 2, y0 - 2), (x1 + 2, y1 + 3), tuple(trim), -1)
    glass: Color = (52, 60, 70)
    if rng.random() < 0.12:
        glass = (206, 178, 116)  # somebody is at home
    elif rng.random() < 0.4:
        glass = (112, 128, 146)  # reflects the sky
    top, bottom = (np.asarray(vary(rng, glass, 0.35), np.float32) for _ in range(2))
    rows = max(y1 - y0, 1)
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    fill = top + share * (bottom - top)
    surface[y0 : y0 + rows, x0:x1] = fill
    cv2.line(surface, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), tuple(trim), 1)
    cv2.line(surface, (x0, (2 * y0 + y1) // 3), (x1, (2 * y0 + y1) // 3), tuple(trim), 1)
