"""Faults of sensor and transmission: noise, dead photosites, an upside-down image."""

from __future__ import annotations

import cv2
import numpy as np

from offline_training.perturbations.base import checked
from ros2_ood_monitor.frame import Float32Array, UInt8Array

SIGMA = 60.0
"""Grey levels at severity 1."""
PHOTONS = 4.0
"""Photons of a white pixel at severity 1."""
SALT = 0.25
"""Share of changed pixels at severity 1."""
SITES = 0.02
"""Share of defective photosites at severity 1."""
COLUMNS, ROWS = 0.04, 0.015
"""Share of defective columns and rows at severity 1."""
DEAD, HOT = 0.0, 255.0
WEAKEST, STRONGEST = 25.0, 90.0
"""Grey levels by which a column with a bad amplifier is off."""
SPREAD = (
    np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4,
    np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4,
    np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4,
)
"""Bilinear demosaicing as a convolution of each colour's own sites: red, green, blue."""


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


@checked
def dead_pixels(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Break photosites under the colour filter array (RGGB), then demosaic.

    Single sites are dead or hot, columns are dead or off by a constant, rows are dead. Bilinear
    demosaicing spreads a fault over its neighbours: a hot site becomes a coloured cross. Faults
    appear one after another as `severity` grows, spread at random, and stay.

    Source: Leung et al., Statistical Identification and Analysis of Defect Development in Digital
    Imagers, 2009 (defects are permanent and grow in number); Bayer, US patent 3971065, 1976.
    """
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width] % 2
    filters = (y + x).astype(np.intp)  # 0 red, 1 green, 2 blue
    raw = np.take_along_axis(image, filters[..., None], axis=2)[..., 0].astype(np.float32)
    fault = _spoil(rng, raw, severity) - raw
    out = image.astype(np.float32)
    for channel, kernel in enumerate(SPREAD):
        own = np.where(filters == channel, fault, np.float32(0))
        out[..., channel] += cv2.filter2D(own, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def _spoil(rng: np.random.Generator, raw: Float32Array, severity: float) -> Float32Array:
    """Return the sensor's readings, float32 (H, W); where faults overlap, the first one counts."""
    height, width = raw.shape
    # Severity at which each photosite, column and row fails.
    site = rng.random(raw.shape, np.float32) / SITES
    column = rng.random(width, np.float32) / COLUMNS
    row = rng.random((height, 1), np.float32) / ROWS
    hot = rng.random(raw.shape, np.float32) < 0.4
    offset = rng.choice((-1, 1), width) * rng.uniform(WEAKEST, STRONGEST, width)
    offset[rng.random(width) < 0.3] = -HOT  # dead
    line = np.where(row < column, DEAD, np.clip(raw + offset, DEAD, HOT))
    line_fails = np.minimum(row, column)
    value = np.where(site < line_fails, np.where(hot, HOT, DEAD), line)
    fails = np.minimum(site, line_fails)
    return np.where(fails < severity, value, raw).astype(np.float32)


@checked
def vertical_flip(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Mirror the image top to bottom, as of a camera mounted or decoded the wrong way.

    There is no half of it, so any severity above 0 does; `rng` is not used.

    Source: VerticalFlip, one of DAAIN's perturbations (2021).
    """
    return np.ascontiguousarray(image[::-1])
