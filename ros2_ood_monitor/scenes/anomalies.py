"""Things that training scenes never contain; only clips with an AnomalyEvent load this module."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.scenes.animals import dog
from ros2_ood_monitor.scenes.classes import VOID
from ros2_ood_monitor.scenes.scene_frame import AnomalyEvent
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import Color, between, fractal, pick
from ros2_ood_monitor.scenes.world import Standing

_SIZE = 160
_PASSED, _NEAREST, _FARTHEST = 4.0, 6.0, 20.0
"""Metres: where it is at the end of its event, and between which it appears."""

Painting = tuple[Float32Array, UInt8Array]
"""Colours (160, 160, 3) and alpha (160, 160)."""

_Y, _X = (axis.astype(np.float32) for axis in np.mgrid[-1 : 1 : _SIZE * 1j, -1 : 1 : _SIZE * 1j])
_RADIUS = np.hypot(_X, _Y)
_ANGLE = np.arctan2(_Y, _X)
_LOUD: tuple[Color, ...] = (
    (226, 40, 160),
    (250, 214, 40),
    (40, 208, 214),
    (250, 120, 30),
    (120, 60, 210),
    (60, 214, 90),
    (240, 240, 236),
    (24, 24, 30),
)


def _two_colors(rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    first = pick(rng, len(_LOUD))
    second = (first + 1 + pick(rng, len(_LOUD) - 1)) % len(_LOUD)
    return np.array(_LOUD[first], np.float32), np.array(_LOUD[second], np.float32)


def _mix(rng: np.random.Generator, share: np.ndarray) -> Float32Array:
    low, high = _two_colors(rng)
    return np.asarray(low + (high - low) * np.clip(share, 0, 1)[..., None], np.float32)


def _ball_light() -> Float32Array:
    depth = np.sqrt(np.clip(1 - _RADIUS**2, 0, 1))
    light = 0.35 + 0.75 * (0.4 * -_X + 0.6 * -_Y + 0.7 * depth)
    return np.asarray(np.clip(light, 0.3, 1.15), np.float32)


def _disc(radius: np.ndarray | float = 0.97) -> UInt8Array:
    return np.asarray(np.clip((radius - _RADIUS) * 40, 0, 1) * 255, np.uint8)


def _polygon(points: np.ndarray) -> UInt8Array:
    alpha: UInt8Array = np.zeros((_SIZE, _SIZE), np.uint8)
    corners = np.asarray((points + 1) / 2 * (_SIZE - 1), np.int32)
    cv2.fillPoly(alpha, [corners], 255, cv2.LINE_AA)
    return alpha


def _star(rng: np.random.Generator) -> Painting:
    tips = 5 + pick(rng, 4)
    turn = np.arange(2 * tips) * np.pi / tips - np.pi / 2
    reach = np.where(np.arange(2 * tips) % 2 == 0, 0.97, between(rng, 0.42, 0.55))
    alpha = _polygon(np.stack([reach * np.cos(turn), reach * np.sin(turn)], 1))
    facets = 0.75 + 0.35 * (np.sin(_ANGLE * tips * 2) > 0)
    return _mix(rng, _RADIUS * 1.2) * facets[..., None], alpha


def _spiral(rng: np.random.Generator) -> Painting:
    arms, tight = 1 + pick(rng, 3), between(rng, 12, 20)
    wave = np.sin(_ANGLE * arms + _RADIUS * tight) * 4 + 0.5
    return _mix(rng, wave) * _ball_light()[..., None], _disc()


def _rings(rng: np.random.Generator) -> Painting:
    wave = np.sin(_RADIUS * between(rng, 15, 24)) * 4 + 0.5
    return _mix(rng, wave) * (1.1 - 0.25 * _Y)[..., None], _disc()


def _checkerboard(rng: np.random.Generator) -> Painting:
    turn, count = between(rng, -0.5, 0.5), 5 + pick(rng, 4)
    across = (_X * math.cos(turn) + _Y * math.sin(turn)) * count / 1.3
    down = (_Y * math.cos(turn) - _X * math.sin(turn)) * count / 1.3
    checks = (np.floor(across) + np.floor(down)) % 2
    corners = turn + np.pi / 4 + np.arange(4) * np.pi / 2
    alpha = _polygon(0.98 * np.stack([np.cos(corners), np.sin(corners)], 1))
    return _mix(rng, checks) * (1 - 0.2 * _X - 0.15 * _Y)[..., None], alpha


def _lumpy(rng: np.random.Generator, raggedness: float) -> UInt8Array:
    around = fractal(rng, 360, 4, 70, 4)[:, 0]
    outline = 0.86 + raggedness * 2 * (around - 0.5)
    degrees = ((np.rad2deg(_ANGLE) + 360) % 360).astype(np.intp) % 360
    return _disc(np.minimum(outline, 0.99)[degrees])


def _tiger(rng: np.random.Generator) -> Painting:
    bend = fractal(rng, _SIZE, _SIZE, 60, 4)
    stripes = np.sin(_X * between(rng, 14, 20) + 14 * bend + 2 * _Y) * 3 + 0.6
    low, high = np.array((28, 22, 20), np.float32), np.array((236, 140, 40), np.float32)
    coat = low + (high - low) * np.clip(stripes, 0, 1)[..., None]
    return coat * _ball_light()[..., None], _lumpy(rng, 0.25)


def _fur(rng: np.random.Generator) -> Painting:
    hairs = rng.random((3 * _SIZE, _SIZE), np.float32)  # one row for each direction
    combed = cv2.warpPolar(
        cv2.blur(hairs, (_SIZE // 8, 1)),
        (_SIZE, _SIZE),
        (_SIZE / 2, _SIZE / 2),
        _SIZE * 0.75,
        cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS | cv2.WARP_INVERSE_MAP,
    )
    lumps = fractal(rng, _SIZE, _SIZE, 40, 3) - 0.5
    strands = 0.5 + 3.0 * (np.asarray(combed, np.float32) - 0.5) + 0.6 * lumps
    coats = ((186, 104, 60), (214, 120, 190), (96, 190, 186), (226, 220, 204))
    color = np.array(coats[pick(rng, 4)], np.float32)
    spikes = 0.2 * (rng.random(360, np.float32) - 0.5)
    degrees = ((np.rad2deg(_ANGLE) + 360) % 360).astype(np.intp) % 360
    alpha = np.minimum(_lumpy(rng, 0.2), _disc((0.9 + spikes)[degrees]))
    coat = color * (np.clip(0.4 + strands, 0.25, 1.3) * _ball_light())[..., None]
    return np.asarray(coat, np.float32), alpha


def _crate(rng: np.random.Generator) -> Painting:
    planks = 4 + pick(rng, 3)
    board = np.floor((_Y + 1) / 2 * planks)
    seam = np.mod((_Y + 1) / 2 * planks, 1) < 0.1
    wood = fractal(rng, _SIZE, _SIZE, 70, 3)
    lines = 0.85 + 0.3 * np.sin(_Y * 60 + 20 * wood)
    tone = 1 + 0.12 * np.sin(board * 2.3) - 0.55 * seam
    cross = np.minimum(np.abs(_X - _Y), np.abs(_X + _Y)) < 0.14
    frame = np.maximum(np.abs(_X), np.abs(_Y)) > 0.8
    tone = np.where(cross | frame, 1.3, tone)
    rim = (np.abs(np.maximum(np.abs(_X), np.abs(_Y)) - 0.8) < 0.02) | (
        np.abs(np.minimum(np.abs(_X - _Y), np.abs(_X + _Y)) - 0.14) < 0.025
    ) & ~frame
    tone = np.where(rim, 0.4, tone)
    alpha: UInt8Array = np.full((_SIZE, _SIZE), 255, np.uint8)
    # Painted like a toy: the little network of the demo takes bare wood for a wall.
    first, second = np.array(_LOUD[2], np.float32), np.array(_LOUD[4], np.float32)
    color = np.where((board % 2 == 0)[..., None], first, second) * between(rng, 0.8, 1.1)
    return (color * (tone * lines * 0.85)[..., None]).astype(np.float32), alpha


def _ball(rng: np.random.Generator) -> Painting:
    depth = np.sqrt(np.clip(1 - _RADIUS**2, 0, 1))
    tilt = between(rng, -0.6, 0.6)
    up = _Y * math.cos(tilt) - depth * math.sin(tilt)
    ahead = _Y * math.sin(tilt) + depth * math.cos(tilt)
    gores = np.floor((np.arctan2(_X, ahead) / np.pi + 1) * 4)
    colors = np.array([_LOUD[index] for index in (0, 6, 1, 6, 2, 6, 3, 6)], np.float32)
    surface = colors[(gores.astype(np.intp) + pick(rng, 8)) % 8]
    surface = np.where(
        (np.abs(up) > 0.93)[..., None], np.array((240, 240, 236), np.float32), surface
    )
    return surface * _ball_light()[..., None], _disc()


def _donut(rng: np.random.Generator) -> Painting:
    tube = np.clip(1 - ((_RADIUS - 0.66) / 0.32) ** 2, 0, 1)
    sprinkles = fractal(rng, _SIZE, _SIZE, 10, 2) > 0.62
    surface = _mix(rng, sprinkles) * (0.4 + 0.7 * np.sqrt(tube) - 0.15 * _Y)[..., None]
    return surface, np.minimum(_disc(), 255 - _disc(0.34))


def _plaid(rng: np.random.Generator) -> Painting:
    turn, pitch = between(rng, 0.2, 1.3), between(rng, 16, 26)
    across, down = (
        _X * math.cos(turn) + _Y * math.sin(turn),
        _Y * math.cos(turn) - _X * math.sin(turn),
    )
    share = 0.35 * (np.sin(across * pitch) > 0.3) + 0.35 * (np.sin(down * pitch) > 0.3)
    share += 0.3 * (np.sin(across * pitch * 3) > 0.8)
    return _mix(rng, share), _lumpy(rng, 0.3)


def _crystal(rng: np.random.Generator) -> Painting:
    turns = np.sort(rng.random(7)) * 2 * np.pi
    edge = np.stack([0.96 * np.cos(turns), 0.96 * np.sin(turns)], 1)
    surface = _mix(rng, _RADIUS)
    core = np.array([between(rng, -0.2, 0.2), between(rng, -0.2, 0.2)])
    for first, second in zip(edge, np.roll(edge, -1, axis=0), strict=True):
        facet = _polygon(np.stack([core, first, second])) > 0
        surface[facet] *= np.float32(between(rng, 0.45, 1.25))
    return surface, _polygon(edge)


def _scribble(rng: np.random.Generator) -> Painting:
    knots = (0.5 + 0.42 * (2 * rng.random((9, 2)) - 1)) * _SIZE
    knots = np.concatenate([knots, knots[:2]])
    along = np.linspace(0, len(knots) - 1, 200)
    path = np.stack(
        [np.interp(along, np.arange(len(knots)), knots[:, axis]) for axis in (0, 1)], 1
    )
    path = np.asarray(cv2.blur(path.astype(np.float32), (1, 25)), np.int32)
    alpha: UInt8Array = np.zeros((_SIZE, _SIZE), np.uint8)
    cv2.polylines(alpha, [path], True, 255, 16, cv2.LINE_AA)
    return _mix(rng, np.sin((_X + _Y) * 9) + 0.5), alpha


def _dog(rng: np.random.Generator) -> Painting:
    return dog(rng, _SIZE, _two_colors(rng))


_PAINTERS: dict[str, Callable[[np.random.Generator], Painting]] = {
    'star': _star,
    'spiral': _spiral,
    'rings': _rings,
    'checkerboard': _checkerboard,
    'tiger': _tiger,
    'fur': _fur,
    'crate': _crate,
    'ball': _ball,
    'dog': _dog,
}
_VALIDATION_PAINTERS: dict[str, Callable[[np.random.Generator], Painting]] = {
    'donut': _donut,
    'plaid': _plaid,
    'crystal': _crystal,
    'scribble': _scribble,
}
KINDS: tuple[str, ...] = tuple(_PAINTERS)
"""What demonstrations and tests use."""
VALIDATION_KINDS: tuple[str, ...] = tuple(_VALIDATION_PAINTERS)
"""Other shapes, for choosing settings without looking at the ones above."""


class Intruder:
    """One anomaly: stands on the road ahead from one frame to the next, comes nearer.

    `aspect` is image width over height; with it the distance is such that the anomaly covers
    what AnomalyEvent promises from its first frame on.

    Raises:
        ValueError: The event's kind does not exist.
    """

    def __init__(self, event: AnomalyEvent, rng: np.random.Generator, aspect: float) -> None:
        kind = event.kind if event.kind is not None else KINDS[pick(rng, len(KINDS))]
        painter = (_PAINTERS | _VALIDATION_PAINTERS).get(kind)
        if painter is None:
            raise ValueError(
                f'{kind!r} is not a kind of anomaly: use one of '
                f'{", ".join(KINDS + VALIDATION_KINDS)}.'
            )
        surface, alpha = painter(rng)
        # It stands on its lowest pixel.
        below = _SIZE - 1 - int(np.flatnonzero(alpha.any(axis=1))[-1])
        surface, alpha = np.roll(surface, below, axis=0), np.roll(alpha, below, axis=0)
        # Covered share = filled * size^2 * (0.9 W / z)^2 / (W H).
        reach = 0.9 * math.sqrt(float(alpha.mean()) / 255 * aspect / event.cover)
        size = max(between(rng, 1.4, 2.4), _NEAREST / reach)
        self._far = min(size * reach, _FARTHEST)
        self._sprite = Sprite(surface, alpha, size, size, VOID)
        self._event = event
        self._x = between(rng, -1.3, 1.5)

    def at(self, time: float) -> Standing | None:
        """Return it as it stands at a time, z counted from the camera; None outside its event."""
        age = time - self._event.start_s
        if not 0 <= age + 1e-9 < self._event.duration_s:
            return None
        share = age / self._event.duration_s
        z = self._far + (_PASSED - self._far) * share
        return Standing(
            (self._sprite,),
            self._x * (1 - 0.3 * share),
            z,
            shadow=self._sprite.width * 1.1,
        )
