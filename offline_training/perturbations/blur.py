"""Blur of the lens and of motion: one kernel over the whole image, in linear light."""

from __future__ import annotations

import cv2
import numpy as np

from offline_training.perturbations.base import checked
from offline_training.perturbations.light import to_display, to_linear
from ros2_ood_monitor.frame import Float32Array, UInt8Array

DISK = 0.032
"""Radius of the circle of confusion over the shorter side at severity 1."""
TRACK = 0.1
"""Length of the motion over the shorter side at severity 1."""
FINE = 8
"""Sub-pixels per pixel when a kernel is drawn."""


@checked
def defocus_blur(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Put the lens out of focus: every point becomes a disk of radius 3.2 % of the shorter side.

    Lights swell into bright disks because light is summed, not pixel values. `rng` is not used.

    Source: geometric circle of confusion (thin lens); Hendrycks and Dietterich 2019.
    """
    radius = DISK * severity * min(image.shape[:2])
    half = int(np.ceil(radius + 0.5))
    offset = (np.arange((2 * half + 1) * FINE) + 0.5) / FINE - half - 0.5
    inside = offset[:, None] ** 2 + offset**2 <= (radius + 0.5) ** 2
    return _convolve(image, inside.astype(np.float32))


@checked
def motion_blur(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Move the camera while the shutter is open, straight, up to 10 % of the shorter side.

    The direction is drawn: mostly sideways (turns), sometimes up and down (potholes).

    Source: linear motion as in Gonzalez and Woods, Digital Image Processing, section 5.6, and
    Hendrycks and Dietterich 2019.
    """
    length = TRACK * severity * min(image.shape[:2])
    angle = rng.normal(0, 0.5)
    half = int(np.ceil(length / 2 + 0.5))
    offset = (np.arange((2 * half + 1) * FINE) + 0.5) / FINE - half - 0.5
    along = offset * np.cos(angle) + offset[:, None] * np.sin(angle)
    across = offset * np.sin(angle) - offset[:, None] * np.cos(angle)
    beyond = np.maximum(np.abs(along) - length / 2, 0)
    inside = beyond**2 + across**2 <= 0.25
    return _convolve(image, inside.astype(np.float32))


def _convolve(image: UInt8Array, fine: Float32Array) -> UInt8Array:
    size = len(fine) // FINE
    kernel = fine.reshape(size, FINE, size, FINE).sum(axis=(1, 3))
    blurred = cv2.filter2D(
        to_linear(image), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101
    )
    return to_display(np.asarray(blurred, np.float32))
