"""Dirt on the lens: opaque mud, and the translucent film of dust and dried drops."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.perturbations.base import checked
from offline_training.perturbations.canvas import canvas_size, enlarge
from offline_training.perturbations.light import ambient_light, to_display, to_linear
from offline_training.synthesis.fractal_noise import fractal_noise
from ros2_ood_monitor.frame import Float32Array, UInt8Array

MUD = np.array([0.078, 0.053, 0.032], np.float32)
DUST = np.array([0.42, 0.37, 0.3], np.float32)
"""Share of the ambient light that wet mud and dry dust send to the camera; linear RGB."""
SPLASHES, DROPS = 15, 80
"""At severity 1."""
ROUND = 4
TURN = np.linspace(0, 2 * np.pi, 48, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


@checked
def mud(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Cover the lens with mud: splashes, droplets around them, and runs below.

    Splashes arrive one after another as `severity` grows; at 1 they hide about half of the
    image. Light passes by Beer-Lambert's law, so thin rims are translucent, and everything is
    out of focus because it sits on the lens.

    Source: Gu et al., Removing image artifacts due to dirty camera lenses and thin occluders,
    2009 (attenuation plus scattered ambient light, both low-frequency); mud of LaREx.
    """
    height, width = canvas_size(image)
    side = min(height, width)
    thick = np.zeros((height, width), np.float32)
    for index in range(SPLASHES):
        layer = _splash(rng, height, width)
        thick += _ready(severity, index / SPLASHES) * rng.uniform(1.5, 3.5) * layer
    uneven = np.clip(1 + 0.35 * fractal_noise(rng, height, width, 0.75), 0.2, None)
    thick = cv2.GaussianBlur(thick, (0, 0), 0.008 * side + 0.2) * uneven
    cover = enlarge(1 - np.exp(-1.8 * thick), image)[..., None]
    tone = np.clip(1 + 0.35 * fractal_noise(rng, height, width, 0.8), 0.3, 2)
    dirt = ambient_light(image) * MUD * enlarge(tone, image)[..., None]
    light = to_linear(image)
    return to_display(light + (dirt - light) * cover)


@checked
def soiling(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Cover the lens with a film of dust and with dried drops that have dense rims.

    The film thickens and drops appear as `severity` grows. Dirt scatters ambient light and blurs
    what is behind it; little is fully opaque.

    Source: Gu et al. 2009, as for `mud`; translucent dirt of WoodScape (Uricar et al., SoilingNet,
    2019); dense rims: Deegan et al., Capillary flow as the cause of ring stains, 1997.
    """
    height, width = canvas_size(image)
    side = min(height, width)
    film = np.exp(0.8 * fractal_noise(rng, height, width, 0.6))
    thick = 0.4 * severity * film
    for index in range(DROPS):
        layer = _dried_drop(rng, height, width)
        thick += _ready(severity, index / DROPS) * rng.uniform(0.4, 1.4) * layer
    thick = cv2.GaussianBlur(thick, (0, 0), 0.006 * side + 0.2)
    cover = enlarge(1 - np.exp(-thick), image)
    light = to_linear(image)
    small = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
    behind = np.asarray(cv2.GaussianBlur(small, (0, 0), 0.03 * side + 0.3), np.float32)
    dirt = 0.35 * enlarge(behind, image) + 0.65 * ambient_light(image) * DUST
    return to_display(light + (dirt - light) * cover[..., None])


def _ready(severity: float, born: float) -> float:
    """Share of an element that is visible: 0 up to severity `born`, 1 from `born` + 0.1."""
    return float(np.clip((severity - 0.9 * born) / 0.1, 0, 1))


def _splash(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Draw one splash, its droplets and perhaps a run: float32 (H, W), 0 or 1 with soft edges."""
    side = min(height, width)
    centre = rng.uniform((0, 0), (1, 1.05)) * (width, height)
    radius = side * rng.uniform(0.04, 0.15)
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [_fixed(_outline(rng, centre, radius, 0.2))], 255, cv2.LINE_AA, ROUND)
    count = int(rng.integers(15, 40))
    angle = rng.uniform(0, 2 * np.pi, count)
    far = radius * (1 + rng.exponential(0.6, count))
    spots = _fixed(centre + far[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    size = radius * rng.uniform(0.03, 0.16, count)
    axes = _fixed(np.stack([size * rng.uniform(1, 3, count), size], axis=1))
    throws = np.degrees(angle).tolist()
    for spot, axis, turn in zip(spots.tolist(), axes.tolist(), throws, strict=True):
        # Stretched along the throw.
        cv2.ellipse(canvas, spot, axis, turn, 0, 360, 255, -1, cv2.LINE_AA, ROUND)
    if rng.random() < 0.4:
        down = radius * np.array([rng.normal(0, 0.1), rng.uniform(1.5, 4)])
        ends = np.stack([centre, centre + down])
        pen = max(1, round(radius * rng.uniform(0.15, 0.35)))
        cv2.polylines(canvas, [_fixed(ends)], False, 255, pen, cv2.LINE_AA, ROUND)
    return canvas / np.float32(255)


def _dried_drop(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Draw one dried drop, its rim denser than its middle: float32 (H, W) in 0..1."""
    side = min(height, width)
    centre = rng.uniform(0, 1, 2) * (width, height)
    radius = side * np.minimum(0.012 * np.exp(rng.exponential(0.7)), 0.09)
    outline = [_fixed(_outline(rng, centre, radius, 0.06))]
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, outline, 90, cv2.LINE_AA, ROUND)
    cv2.polylines(canvas, outline, True, 255, max(1, round(radius / 5)), cv2.LINE_AA, ROUND)
    return canvas / np.float32(255)


def _outline(
    rng: np.random.Generator, centre: NDArray[np.floating], radius: float, rough: float
) -> NDArray[np.floating]:
    """Return a bumpy closed curve, (48, 2) points."""
    order = np.arange(2, 9)
    waves = rng.normal(0, rough, (2, 7)) / np.sqrt(order)
    bumps = waves[0] @ np.cos(order[:, None] * TURN) + waves[1] @ np.sin(order[:, None] * TURN)
    return centre + radius * np.clip(1 + bumps, 0.3, None)[:, None] * CIRCLE


def _fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    """Coordinates in OpenCV's fixed point."""
    return np.rint(points * 2**ROUND).astype(np.int32)
