"""Between pixel values and light: scattering and lenses act on light, not on sRGB codes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.frame import Float32Array, UInt8Array

_CODES = np.arange(256) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
_STEPS = 4095
_LEVELS = (np.arange(_STEPS + 1) / _STEPS) ** 2  # square roots: as fine in shadows as sRGB is
_DISPLAY = np.rint(
    255 * np.where(_LEVELS <= 0.0031308, _LEVELS * 12.92, 1.055 * _LEVELS ** (1 / 2.4) - 0.055)
).astype(np.uint8)
BRIGHTEST = 0.05
DIMMEST_AMBIENT = 0.2
"""Least ambient light, linear: fog, rain and dirt are lit even where the image is black."""


def to_linear(image: UInt8Array) -> Float32Array:
    """Decode sRGB: uint8 to linear light float32 in 0..1, same shape (IEC 61966-2-1)."""
    return np.asarray(cv2.LUT(image, _LINEAR.reshape(1, 256)), np.float32)


def to_display(light: NDArray[np.floating]) -> UInt8Array:
    """Encode linear light as sRGB uint8; values outside 0..1 saturate."""
    root = np.sqrt(np.clip(light, 0, 1, dtype=np.float32))
    return np.asarray(_DISPLAY[(root * _STEPS + 0.5).astype(np.int16)])


def ambient_light(image: UInt8Array) -> Float32Array:
    """Estimate the light of the sky: linear RGB (3,), mean of the brightest 5 % of the pixels.

    Half of its colour is taken out: clouds, fog and rain scatter all wavelengths alike.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    counts = np.bincount(grey.ravel(), minlength=256)
    above = np.cumsum(counts[::-1])[::-1]  # pixels at least this bright
    threshold = int(np.flatnonzero(above >= BRIGHTEST * grey.size).max())
    colour = to_linear(image[grey >= threshold][None])[0].mean(axis=0)
    colour = (colour + colour.mean()) / 2
    return np.asarray(colour + max(0.0, DIMMEST_AMBIENT - float(colour.mean())), np.float32)
