"""The contract of a perturbation: a seeded, pure change of one image, severity 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Literal

import numpy as np

from ros2_ood_monitor.frame import UInt8Array

Apply = Callable[[np.random.Generator, UInt8Array, float], UInt8Array]
Family = Literal['weather', 'light', 'sensor', 'optics', 'colour', 'geometry']


@dataclass(frozen=True)
class Perturbation:
    """A perturbation with what a report says about it."""

    apply: Apply
    """`apply(rng, image, severity)`: uint8 RGB (H, W, 3) in, a new one of the same shape out."""
    family: Family
    severity: str
    """What grows with severity, and what 1 means."""
    source: str
    """Source of the physical model."""


def checked(function: Apply) -> Apply:
    """Give a perturbation its common contract: refuse bad input, copy at severity 0.

    Raises:
        TypeError: the image is not uint8 (H, W, 3).
        ValueError: the severity is outside 0..1.
    """

    @wraps(function)
    def apply(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise TypeError(
                f'{function.__name__} got an image {image.dtype} {image.shape}; '
                'give uint8 RGB (H, W, 3)'
            )
        if not 0 <= severity <= 1:
            raise ValueError(f'severity of {function.__name__} is {severity}; give 0..1')
        if severity == 0:
            return image.copy()
        return function(rng, image, float(severity))

    return apply
