"""Colour jitter: brightness, contrast, saturation and hue change together."""

from __future__ import annotations

import cv2
import numpy as np

from offline_training.perturbations.base import checked
from ros2_ood_monitor.frame import UInt8Array

BRIGHTNESS, CONTRAST, SATURATION = 0.6, 0.6, 1.0
"""Largest change of each factor at severity 1, as powers of e."""
HUE = 2.4
"""Largest turn of the hue at severity 1 in radians."""
LEAST = 0.5
"""Least share of the largest change, so that every draw has an effect."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@checked
def color_jitter(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Change brightness, contrast, saturation and hue by drawn amounts that grow with severity.

    Factors are exp(+-severity x amount), the hue turns by up to 138 degrees around the grey axis.
    Every pixel of one colour gets the same new colour.

    Source: ColorJitter of torchvision, one of DAAIN's perturbations (2021); hue
    as a rotation about the grey axis instead of in HSV, which would make grey pixels noisy.
    """
    sign = np.where(rng.random(4) < 0.5, -1.0, 1.0)
    amount = severity * sign * rng.uniform(LEAST, 1, 4) * (BRIGHTNESS, CONTRAST, SATURATION, HUE)
    brightness, contrast, saturation = np.exp(amount[:3])
    turn = float(amount[3])
    cos, sin = np.cos(turn), np.sin(turn)
    # Rodrigues' rotation about (1, 1, 1) / sqrt(3).
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = cos * np.eye(3) + sin * cross + (1 - cos) / 3
    grey = np.tile(LUMA, (3, 1))
    matrix = contrast * brightness * hue @ (grey + saturation * (np.eye(3) - grey))
    middle = brightness * float(image.mean(axis=(0, 1)) @ LUMA)
    affine = np.concatenate([matrix, np.full((3, 1), (1 - contrast) * middle)], axis=1)
    return np.asarray(cv2.transform(image, affine), np.uint8)
