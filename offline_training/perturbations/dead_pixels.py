"""Failing image sensor: dead and hot photosites, bad columns, dead rows."""

from __future__ import annotations

import cv2
import numpy as np

from offline_training.perturbations.base import checked
from ros2_ood_monitor.frame import Float32Array, UInt8Array

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
