"""Self-made textures for pasted unknown objects; none is cut from a data set's test images.

Every generator returns uint8 RGB (height, width, 3) and draws all its randomness from `rng`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from offline_training.synthesis.fractal_noise import fractal_noise
from ros2_ood_monitor.frame import Float32Array, UInt8Array


def _palette(rng: np.random.Generator, count: int) -> Float32Array:
    """Pick `count` related colours: animals and objects rarely span the whole RGB cube."""
    base = rng.uniform(10, 245, 3)
    spread = rng.uniform(5, 90)
    colours = base + rng.standard_normal((count, 3)) * spread
    if rng.random() < 0.6:  # mostly low saturation, as most real things are
        grey = colours.mean(axis=1, keepdims=True)
        colours = grey + (colours - grey) * rng.uniform(0.0, 0.5)
    return np.clip(colours, 0, 255).astype(np.float32)


def _colour(rng: np.random.Generator, field: Float32Array, count: int) -> Float32Array:
    """Map a field to a smooth ramp through `count` colours."""
    colours = _palette(rng, count)
    low, high = np.percentile(field, (2, 98))
    position = np.clip((field - low) / (high - low + 1e-6), 0, 1) * (count - 1)
    index = np.clip(position.astype(np.int32), 0, count - 2)
    weight = (position - index)[..., None]
    return colours[index] * (1 - weight) + colours[index + 1] * weight


def _warp(rng: np.random.Generator, height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """Pixel coordinates bent by smooth noise and rotated."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    strength = rng.uniform(0, 0.15) * max(height, width)
    x += strength * fractal_noise(rng, height, width, 0.4)
    y += strength * fractal_noise(rng, height, width, 0.4)
    angle = rng.uniform(0, np.pi)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def fur(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Anisotropic fibres over slow colour patches."""
    patches = fractal_noise(rng, height, width, 0.3)
    fibres = fractal_noise(rng, height, width, rng.uniform(0.8, 1.1), rng.uniform(1, 5))
    if rng.random() < 0.5:
        fibres = fractal_noise(rng, width, height, 0.95, rng.uniform(1, 5)).T
    return _colour(rng, patches + rng.uniform(0.1, 0.8) * fibres, int(rng.integers(2, 5)))


def stripes(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Bent stripes."""
    u, _ = _warp(rng, height, width)
    period = rng.uniform(0.04, 0.5) * max(height, width) + 2
    wave = np.sin(2 * np.pi * u / period) * rng.uniform(1, 4)
    return _colour(rng, np.tanh(wave).astype(np.float32), 2)


def spots(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Blotches of two or three colours with sharp or soft edges."""
    field = fractal_noise(rng, height, width, rng.uniform(0.2, 0.7))
    sharpness = rng.uniform(1, 10)
    return _colour(rng, np.tanh(sharpness * (field - rng.uniform(-0.5, 0.5))), 2)


def plain(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """One colour with faint grain: painted or plastic things."""
    grain = fractal_noise(rng, height, width, rng.uniform(0.5, 1.0))
    return _palette(rng, 1)[0] + rng.uniform(0, 12) * grain[..., None]


def cells(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Voronoi cells: scales, stones, cobbles, cracked surfaces."""
    count = int(rng.integers(4, 60))
    points = rng.uniform(0, 1, (count, 2)) * (height, width)
    small_height, small_width = (height + 1) // 2, (width + 1) // 2
    y, x = np.mgrid[0:small_height, 0:small_width] * 2.0
    distance = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    nearest = distance.argmin(axis=-1)
    image = _palette(rng, count)[nearest].astype(np.float32)
    edge = np.sqrt(distance.min(axis=-1)).astype(np.float32)
    image *= 1 - rng.uniform(0, 0.5) * (edge / (edge.max() + 1e-6))[..., None]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def grid(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Boxes, planks and checkers."""
    u, v = _warp(rng, height, width)
    period = rng.uniform(0.08, 0.6) * max(height, width) + 2
    aspect = rng.uniform(0.3, 3)
    field = np.floor(u / period) * 7 + np.floor(v / period / aspect) * 3
    return _palette(rng, 8)[np.abs(field).astype(np.int64) % int(rng.integers(2, 9))]


def rings(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Bent rings about a point: wood, shells, tyres."""
    u, v = _warp(rng, height, width)
    x, y = rng.uniform(-0.5, 1.5, 2) * (width, height)
    period = rng.uniform(0.05, 0.3) * max(height, width) + 2
    wave = np.sin(2 * np.pi * np.hypot(u - x, v - y) / period)
    return _colour(rng, wave.astype(np.float32), int(rng.integers(2, 5)))


def marble(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Veins: stone, crumpled foil, leaves."""
    field = np.abs(fractal_noise(rng, height, width, rng.uniform(0.4, 0.7)))
    return _colour(rng, field ** np.float32(rng.uniform(0.3, 1.0)), int(rng.integers(2, 4)))


def dots(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Regular dots or holes: fabric, baskets, perforated metal."""
    u, v = _warp(rng, height, width)
    period = rng.uniform(0.06, 0.3) * max(height, width) + 3
    distance = np.hypot((u / period) % 1 - 0.5, (v / period) % 1 - 0.5)
    field = np.tanh(rng.uniform(4, 20) * (rng.uniform(0.15, 0.45) - distance))
    return _colour(rng, field.astype(np.float32), 2)


Generator = Callable[[np.random.Generator, int, int], Float32Array]
TEXTURES: tuple[Generator, ...] = (fur, fur, spots, stripes, plain, plain, cells, grid)
"""What the observer is trained on; some twice as often."""
HELD_OUT_TEXTURES: tuple[Generator, ...] = (rings, marble, dots)
"""What it is never trained on, to calibrate with."""


def texture(
    rng: np.random.Generator,
    height: int,
    width: int,
    generators: Sequence[Generator] = TEXTURES,
) -> UInt8Array:
    """Draw one random texture, sometimes a blend of two; uint8 RGB (height, width, 3)."""
    image = generators[int(rng.integers(len(generators)))](rng, height, width)
    if rng.random() < 0.3:
        other = generators[int(rng.integers(len(generators)))](rng, height, width)
        blend = 1 / (1 + np.exp(-4 * fractal_noise(rng, height, width, 0.4)))[..., None]
        image = (image * blend + other * (1 - blend)).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
