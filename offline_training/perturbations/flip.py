"""Upside-down images: a camera mounted or decoded the wrong way."""

from __future__ import annotations

import numpy as np

from offline_training.perturbations.base import Image, checked


@checked
def vertical_flip(rng: np.random.Generator, image: Image, severity: float) -> Image:
    """Mirror the image top to bottom; there is no half of it, so any severity above 0 does.

    `rng` is not used.

    Source: VerticalFlip, one of DAAIN's perturbations (2021).
    """
    return np.ascontiguousarray(image[::-1])
