"""Skies and the skyline at the end of the road."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import between, fractal, grain, stream, to_uint8, vary

VARIANTS = 8
"""Skies of each kind, and skylines."""

# kind: colour at the top, at the horizon, of the clouds, and the range of cloud cover
_SKIES = {
    'clear': ((84, 134, 204), (186, 208, 228), (246, 246, 248), (0.0, 0.45)),
    'overcast': ((168, 174, 182), (206, 208, 210), (148, 153, 160), (0.7, 1.1)),
    'dusk': ((98, 108, 150), (238, 178, 128), (206, 140, 128), (0.1, 0.7)),
    'night': ((34, 40, 66), (74, 74, 92), (56, 58, 76), (0.1, 0.8)),
}
KINDS = tuple(_SKIES)


@lru_cache(maxsize=VARIANTS * len(_SKIES))
def panorama(kind: str, variant: int) -> UInt8Array:
    """Return a sky as uint8 RGBA; its foot is the horizon, it is two images wide."""
    rng = stream('sky', kind, variant)
    top, foot, cloud, cover_range = _SKIES[kind]
    rows, columns = 256, 720
    height = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    tops = np.array(vary(rng, top, 0.12), np.float32)
    foots = np.array(vary(rng, foot, 0.08), np.float32)
    sky = np.repeat(tops + (foots - tops) * height**1.6, columns, axis=1)
    # Clouds are seen flatter the nearer they are to the horizon.
    field = fractal(rng, 320, columns, between(rng, 60, 130), 5)
    squeeze = (np.arange(rows) / rows) ** 2.0 * 319
    flat = cv2.remap(
        field,
        np.tile(np.arange(columns, dtype=np.float32), (rows, 1)),
        np.repeat(squeeze.astype(np.float32)[:, None], columns, 1),
        cv2.INTER_LINEAR,
    )
    cover = between(rng, *cover_range)
    amount = np.clip((flat - 0.68 + 0.32 * cover) * 5, 0, 1)[..., None]
    light = 1 + 0.3 * (fractal(rng, rows, columns, 50, 4)[..., None] - 0.5)
    sky += (np.array(cloud, np.float32) * light - sky) * amount * between(rng, 0.7, 1.0)
    if kind in ('clear', 'dusk') and rng.random() < 0.5:  # glow around the sun
        sun_x, sun_y = between(rng, 0, columns), between(rng, 60, 230)
        across = np.arange(columns, dtype=np.float32)[None] - sun_x
        down = np.arange(rows, dtype=np.float32)[:, None] - sun_y
        sky += 90 * np.exp(-np.hypot(across, down) / 50)[..., None]
    return np.dstack([to_uint8(sky), np.full((rows, columns), 255, np.uint8)])


@lru_cache(maxsize=2 * VARIANTS)
def skyline(label: Label, variant: int) -> Sprite:
    """Return far trees or far houses, 440 m wide, for the end of the road."""
    rng = stream('skyline', int(label), variant)
    rows, columns = 40, 640
    if label == Label.TREE:
        green = between(rng, 70, 105)
        color = (green * 0.75, green, green * 0.55)
        top = 14 + 26 * (1 - fractal(rng, columns, 4, 90, 5)[:, 0])
    else:
        color = vary(rng, (140, 130, 122), 0.15)
        top = np.full(columns, 30.0, np.float32)
        position = 0
        while position < columns:
            width = int(between(rng, 10, 40))
            top[position : position + width] = between(rng, 8, 30)
            position += width
    alpha = np.clip(np.arange(rows)[:, None] - top[None], 0, 1) * 255
    surface = grain(rng, rows, columns, color, 0.35)
    if label == Label.BUILDING:
        windows = (np.arange(rows)[:, None] % 5 < 2) & (np.arange(columns)[None] % 4 < 2)
        surface[windows] *= 0.75
    return Sprite(surface, alpha.astype(np.uint8), 440.0, 16.0, label)
