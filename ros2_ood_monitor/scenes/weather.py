"""Light, haze, rain and the camera's own faults: everything between the scene and the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.scenes import sky
from ros2_ood_monitor.scenes.canvas import DEPTH_CODES_PER_METRE, SKY_CODE, Canvas
from ros2_ood_monitor.scenes.texture import Color, between, pick, stream

_MARGIN = 64


@dataclass(frozen=True)
class Weather:
    """What a clip's images have in common."""

    sky: str
    """Kind of sky, one of `sky.KINDS`."""
    sky_variant: int
    light: tuple[float, float, float]
    """Gain of red, green and blue."""
    haze: Color
    visibility: float
    """Metres after which haze leaves 37 % of the contrast."""
    gamma: float
    contrast: float
    noise: float
    """Standard deviation of the noise in grey values."""
    vignette: float
    """Share of light lost in the corners."""
    rain: float
    """Strength of the streaks, 0 = dry."""
    headlights: bool
    shades: tuple[float, float, float]
    """Brightness of walls at the left, at the right, and of those that face the camera."""


def draw_weather(rng: np.random.Generator) -> Weather:
    """Draw weather, time of day and camera of one clip."""
    kind = (
        'clear',
        'clear',
        'clear',
        'clear',
        'overcast',
        'overcast',
        'overcast',
        'dusk',
        'night',
        'rain',
        'fog',
    )[pick(rng, 11)]
    sky_kind = kind if kind in sky.KINDS else 'overcast'
    sun = between(rng, -0.2, 0.2) if kind in ('clear', 'dusk') else between(rng, -0.05, 0.05)
    level, warmth, haze, visibility = {
        'clear': ((0.95, 1.2), (-0.02, 0.08), (196, 208, 222), (250, 600)),
        'overcast': ((0.78, 1.0), (-0.06, 0.02), (198, 202, 206), (150, 400)),
        'dusk': ((0.55, 0.8), (0.06, 0.18), (208, 160, 132), (150, 350)),
        'night': ((0.42, 0.6), (-0.1, 0.02), (44, 46, 60), (120, 250)),
        'rain': ((0.6, 0.85), (-0.08, 0.0), (172, 178, 184), (70, 140)),
        'fog': ((0.8, 1.0), (-0.04, 0.02), (200, 203, 206), (45, 90)),
    }[kind]
    gain, tint = between(rng, *level), between(rng, *warmth)
    return Weather(
        sky=sky_kind,
        sky_variant=pick(rng, sky.VARIANTS),
        light=(gain * (1 + tint), gain, gain * (1 - tint)),
        haze=haze,
        visibility=between(rng, *visibility),
        gamma=between(rng, 0.9, 1.15),
        contrast=between(rng, 0.85, 1.12),
        noise=between(rng, 1.0, 3.5) + (2.5 if kind == 'night' else 0),
        vignette=between(rng, 0.0, 0.35),
        rain=between(rng, 0.35, 0.8) * (kind == 'rain'),
        headlights=kind == 'night',
        shades=(1 - sun, 1 + sun, 1 - abs(sun) / 2),
    )


class Atmosphere:
    """Turns what was painted into what the camera delivers, for one size of image."""

    def __init__(self, weather: Weather, width: int, height: int) -> None:
        self.weather = weather
        metres = np.arange(256) / DEPTH_CODES_PER_METRE
        self._clear: Float32Array = np.exp(-metres / weather.visibility).astype(np.float32)
        self._clear[SKY_CODE] = np.clip((weather.visibility - 20) / 150, 0.12, 1.0)
        self._haze: UInt8Array = np.empty((height, width, 3), np.uint8)
        self._haze[:] = np.asarray(weather.haze, np.uint8)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        across, down = x / width - 0.5, y / height - 0.5
        exposure = 1 - weather.vignette * 2 * (across**2 + down**2)
        if weather.headlights:
            exposure += 1.1 * np.exp(-((across / 0.33) ** 2) - ((down - 0.3) / 0.2) ** 2)
        self._gain: Float32Array = np.ascontiguousarray(
            exposure[..., None] * np.asarray(weather.light, np.float32), np.float32
        )
        tone = (np.arange(256) / 255) ** weather.gamma
        tone = (
            0.5
            + weather.contrast * (tone - 0.5)
            + 0.5 * (weather.contrast - 1) * (sum(weather.light) / 3 - 1)
        )
        self._tone: UInt8Array = np.clip(tone * 255, 0, 255).astype(np.uint8)

    def expose(self, canvas: Canvas, rng: np.random.Generator) -> UInt8Array:
        """Return the image as uint8 RGB; `rng` draws this frame's noise and rain."""
        scene = cv2.cvtColor(canvas.rgba, cv2.COLOR_RGBA2RGB)
        clear = self._clear[canvas.depth]
        seen = cv2.blendLinear(scene, self._haze, clear, 1 - clear)
        lit = cv2.multiply(seen, self._gain, dtype=cv2.CV_8U)
        toned = cv2.LUT(lit, self._tone)
        if self.weather.rain:
            streaks = _crop(_streaks(canvas.width, canvas.height), canvas, rng)
            toned = cv2.addWeighted(toned, 1.0, streaks, self.weather.rain, 0.0)
        grain = self.weather.noise / 32
        noise = _crop(_noise(canvas.width, canvas.height), canvas, rng)
        return np.asarray(cv2.addWeighted(toned, 1.0, noise, grain, -128 * grain), np.uint8)


def _crop(field: UInt8Array, canvas: Canvas, rng: np.random.Generator) -> UInt8Array:
    top, left = pick(rng, _MARGIN), pick(rng, _MARGIN)
    return field[top : top + canvas.height, left : left + canvas.width]


@lru_cache(maxsize=4)
def _noise(width: int, height: int) -> UInt8Array:
    shape = (height + _MARGIN, width + _MARGIN, 3)
    rng = stream('sensor noise', width, height)
    # The sum of four uniform numbers is near enough to Gaussian; its deviation is 0.577.
    total = sum((rng.random(shape, np.float32) for _ in range(4)), np.zeros(shape, np.float32))
    gray = total.mean(axis=2, keepdims=True)
    mixed = (0.5 * (total - 2) + 0.8 * (gray - 2)) / 0.577
    return np.asarray(np.clip(mixed * 32 + 128, 0, 255), np.uint8)


@lru_cache(maxsize=4)
def _streaks(width: int, height: int) -> UInt8Array:
    rng = stream('rain', width, height)
    rows, columns = height + _MARGIN, width + _MARGIN
    field: UInt8Array = np.zeros((rows, columns), np.uint8)
    for _ in range(columns // 2):
        x, y = between(rng, 0, columns), between(rng, 0, rows)
        length = between(rng, 0.02, 0.08) * height
        start, end = (
            (round(x * 8), round(y * 8)),
            (round((x + 0.15 * length) * 8), round((y + length) * 8)),
        )
        cv2.line(field, start, end, between(rng, 30, 90), 1, cv2.LINE_AA, 3)
    return np.asarray(cv2.cvtColor(field, cv2.COLOR_GRAY2RGB), np.uint8)
