"""Upside-down images: a camera mounted or decoded the wrong way."""

from __future__ import annotations

import numpy as np

from offline_training.perturbations.base import checked
from ros2_ood_monitor.frame import UInt8Array


@checked
def vertical_flip(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Mirror the image top to bottom; there is no half of it, so any severity above 0 does.

    `rng` is not used.

    Source: VerticalFlip, one of DAAIN's perturbations (2021).
    """
    return np.ascontiguousarray(image[::-1])
