"""Deterministic noise and surfaces that the sprites are painted with."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array

Color = Sequence[float]
"""RGB, 0-255."""

_TOWN = 20_617


def stream(*keys: int | str) -> np.random.Generator:
    """Return the random stream of a name; equal keys give equal numbers in every process.

    PCG64 with SeedSequence is specified bit by bit, so it does not depend on the NumPy version.
    Scalars go through math rather than np for the same reason: NumPy 1 and 2 disagree on the type
    of a float32 array times a NumPy scalar.
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([_TOWN, *words])))


def fractal(
    rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 4
) -> Float32Array:
    """Return smooth noise (height, width) in about [0, 1], mean 0.5, that repeats vertically.

    `cell` is the size in pixels of the coarsest lumps; each octave halves size and amplitude.
    """
    total = np.zeros((height, width), np.float32)
    amplitude, weight = 1.0, 0.0
    for _ in range(octaves):
        rows = max(round(height / cell), 1)
        columns = max(round(width / cell), 1)
        grid = rng.random((rows, columns), np.float32)
        tall = cv2.resize(
            np.tile(grid, (3, 1)), (width, 3 * height), interpolation=cv2.INTER_CUBIC
        )
        total += amplitude * tall[height : 2 * height]
        weight += amplitude
        amplitude /= 2
        cell = max(cell / 2, 1.0)
    return np.asarray(total / weight, np.float32)


def grain(
    rng: np.random.Generator, height: int, width: int, color: Color, strength: float
) -> Float32Array:
    """Return a float RGB surface (height, width, 3) of one colour with lumps and fine grain."""
    lumps = fractal(rng, height, width, 24.0, 3) - 0.5
    fine = rng.random((height, width), np.float32) - 0.5
    gain = 1 + strength * (1.5 * lumps + fine)
    return np.asarray(gain[..., None] * np.asarray(color, np.float32), np.float32)


def to_uint8(surface: Float32Array) -> UInt8Array:
    """Clip a float surface to [0, 255]."""
    return np.asarray(np.clip(surface, 0, 255), np.uint8)


def vary(rng: np.random.Generator, color: Color, amount: float) -> tuple[float, float, float]:
    """Return the colour made lighter or darker and slightly off in tint by up to `amount`."""
    light = 1 + amount * (2 * rng.random() - 1)
    red, green, blue = (
        channel * light * (1 + 0.3 * amount * (2 * rng.random() - 1)) for channel in color
    )
    return (red, green, blue)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw uniformly from [low, high)."""
    return low + (high - low) * rng.random()


def pick(rng: np.random.Generator, count: int) -> int:
    """Draw one of 0..count-1; built on random() alone, whose stream is fixed."""
    return int(rng.random() * count)
