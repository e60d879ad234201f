"""Smooth random fields, from which textures, fog, frost and dirt are made."""

from __future__ import annotations

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, roughness: float, stretch: float = 1.0
) -> Float32Array:
    """Sum octaves of smooth noise: float32 (height, width) with zero mean and unit variance.

    `roughness` is the gain per octave (0 smooth .. 1 rough); `stretch` > 1 makes fibres.
    """
    total = np.zeros((height, width), np.float32)
    size = 2
    gain = 1.0
    while size < max(height, width):
        rows, columns = max(2, min(size, height)), max(2, min(int(size / stretch), width))
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        total += gain * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        gain *= roughness
        size *= 2
    return (total - total.mean()) / (total.std() + 1e-6)
