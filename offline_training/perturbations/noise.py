"""Noise of sensor and transmission: Gaussian, shot, salt and pepper."""

from __future__ import annotations

import numpy as np

from offline_training.perturbations.base import checked
from ros2_ood_monitor.frame import UInt8Array

SIGMA = 60.0
"""Grey levels at severity 1."""
PHOTONS = 4.0
"""Photons of a white pixel at severity 1."""
SALT = 0.25
"""Share of changed pixels at severity 1."""


@checked
def gaussian_noise(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Add independent normal noise to every value; standard deviation 60 grey levels x severity.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common
    Corruptions, 2019; read and thermal noise of a sensor.
    """
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(SIGMA * severity)
    return np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)


@checked
def shot_noise(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Count few photons: a white pixel collects 4 / severity^2, so noise grows with `severity`.

    Counts are Poisson: the rounded Cornish-Fisher expansion of the Poisson quantile at a normal
    draw that is the same for all severities, so that each value's error grows steadily.

    Source: photon statistics (EMVA standard 1288); Cornish and Fisher 1938; Hendrycks and
    Dietterich 2019.
    """
    noise = rng.standard_normal(image.shape, np.float32)
    photons = PHOTONS / max(severity, 1e-3) ** 2  # finite; at 1e-3 nothing is visible
    expected = image * np.float32(photons / 255)
    deviation = np.sqrt(expected)
    noise = np.maximum(noise, -3 * deviation)  # where the expansion turns and would rise again
    skew = np.where(expected > 0, (noise * noise - 1) / 6, 0)  # no light, no photons
    count = np.rint(expected + deviation * noise + skew)
    return np.clip(count * np.float32(255 / photons) + 0.5, 0, 255).astype(np.uint8)


@checked
def salt_noise(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Turn pixels white or black, equally often: a quarter of them at severity 1.

    Source: impulse noise of switching and transmission faults; Gonzalez and Woods, Digital Image
    Processing, section 5.2.
    """
    draw = rng.random(image.shape[:2], np.float32)
    spoilt = SALT * severity
    # Both kinds grow from the two ends of one uniform draw, so that changed pixels stay changed.
    out = image.copy()
    out[draw < spoilt / 2] = 255
    out[draw >= 1 - spoilt / 2] = 0
    return out
