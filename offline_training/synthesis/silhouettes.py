"""Self-made outlines for pasted unknown objects: masks uint8 (height, width), 0 or 255."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from offline_training.synthesis.fractal_noise import fractal_noise
from ros2_ood_monitor.frame import UInt8Array


def blob(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Star-shaped closed curve with random harmonics."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(angle)
    for harmonic in range(2, int(rng.integers(3, 10))):
        radius += rng.normal(0, 0.35 / harmonic) * np.cos(harmonic * angle + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.15, None)
    radius /= radius.max()
    points = np.stack([np.cos(angle) * width, np.sin(angle) * height], axis=1)
    points = points * radius[:, None] / 2 + (width / 2, height / 2)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    return mask


def polygon(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Box, wedge or other convex figure."""
    count = int(rng.integers(3, 9))
    points = (rng.uniform(0.02, 0.98, (count, 2)) * (width, height)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 255)
    return mask


def creature(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Body of ellipses with neck, head and legs: what stands on a road and is not a car."""
    mask = np.zeros((height, width), np.uint8)

    def ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0) -> None:
        centre = (int(x * width), int(y * height))
        axes = (max(1, int(a * width)), max(1, int(b * height)))
        cv2.ellipse(mask, centre, axes, angle, 0, 360, 255, -1)

    body_y = rng.uniform(0.35, 0.6)
    ellipse(0.5, body_y, rng.uniform(0.22, 0.42), rng.uniform(0.12, 0.3), rng.uniform(-20, 20))
    ellipse(rng.uniform(0.3, 0.7), body_y, rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.25))
    side = 1 if rng.random() < 0.5 else -1
    head_x, head_y = 0.5 + side * rng.uniform(0.2, 0.4), body_y - rng.uniform(-0.05, 0.3)
    ellipse(head_x, head_y, rng.uniform(0.06, 0.16), rng.uniform(0.06, 0.14))
    thick = max(1, int(rng.uniform(0.05, 0.16) * min(height, width)))
    cv2.line(
        mask,
        (int(head_x * width), int(head_y * height)),
        (int((0.5 + side * 0.2) * width), int(body_y * height)),
        255,
        2 * thick,
    )
    for x in np.linspace(0.25, 0.75, int(rng.integers(0, 5))):
        foot = (int((x + rng.normal(0, 0.05)) * width), int(rng.uniform(0.85, 0.98) * height))
        cv2.line(mask, (int(x * width), int(body_y * height)), foot, 255, thick)
    return mask


def ragged(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Thresholded noise inside a blob: bushes of holes, debris, cloth."""
    field = fractal_noise(rng, height, width, rng.uniform(0.3, 0.7))
    return np.where(field > rng.uniform(-0.8, 0.2), blob(rng, height, width), 0).astype(np.uint8)


def tube(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Thick bent line: branches, pipes, hoses."""
    count = int(rng.integers(3, 6))
    points = rng.uniform(0.1, 0.9, (count, 2)) * (width, height)
    mask = np.zeros((height, width), np.uint8)
    thick = max(2, int(rng.uniform(0.15, 0.4) * min(height, width)))
    cv2.polylines(mask, [points.astype(np.int32)], False, 255, thick)
    return mask


def stack(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Boxes on each other: crates, luggage, what fell off a lorry."""
    mask = np.zeros((height, width), np.uint8)
    bottom: float = height
    for _ in range(int(rng.integers(2, 5))):
        tall, wide = rng.uniform(0.2, 0.5) * height, rng.uniform(0.3, 0.9) * width
        left = rng.uniform(0, width - wide)
        mask[max(0, int(bottom - tall)) : int(bottom), int(left) : int(left + wide)] = 255
        bottom -= tall
        if bottom <= 0:
            break
    return mask


Outline = Callable[[np.random.Generator, int, int], UInt8Array]
OUTLINES: tuple[Outline, ...] = (blob, blob, creature, creature, polygon, ragged)
"""What the observer is trained on; some twice as often."""
HELD_OUT_OUTLINES: tuple[Outline, ...] = (tube, stack)
"""What it is never trained on, to calibrate with."""


def silhouette(
    rng: np.random.Generator, height: int, width: int, outlines: Sequence[Outline] = OUTLINES
) -> UInt8Array:
    """Draw one random outline, sometimes rotated."""
    mask = outlines[int(rng.integers(len(outlines)))](rng, height, width)
    if rng.random() < 0.3:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-180, 180), 0.9)
        turned = cv2.warpAffine(mask, turn, (width, height), flags=cv2.INTER_NEAREST)
        return np.asarray(turned, np.uint8)
    return mask
