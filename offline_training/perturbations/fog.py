"""Fog: light is lost on the way and replaced by scattered daylight, more so with distance."""

from __future__ import annotations

import numpy as np

from offline_training.perturbations.base import checked
from offline_training.perturbations.depth import street_depth
from offline_training.perturbations.light import ambient_light, to_display, to_linear
from offline_training.synthesis.fractal_noise import fractal_noise
from ros2_ood_monitor.frame import UInt8Array

DENSEST = 3.0 / 20
"""Extinction per metre at severity 1: a visibility of 20 m (Koschmieder: 3 / visibility)."""
GROWTH = 2.0
PATCHINESS = 0.3
AIRLIGHT = 0.75
"""Share of the sky's light; fog is a little darker than the clear sky that it hides."""


@checked
def fog(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Put fog between camera and scene: I = J t + A (1 - t), t = exp(-beta d), in linear light.

    The distance d is the street proxy of `depth.py`, the extinction beta grows with the square of
    `severity` to 0.15 per metre (visibility 20 m), patchy as in real fog. A comes from the
    image's own brightest parts.

    Source: Koschmieder 1924; Narasimhan and Nayar, Vision and the Atmosphere, 2002; patchy
    extinction as in Tarel et al., Vision Enhancement in Homogeneous and Heterogeneous Fog, 2012.
    """
    height, width = image.shape[:2]
    patches = np.exp(PATCHINESS * fractal_noise(rng, height, width, 0.45))
    extinction = DENSEST * severity**GROWTH
    seen = np.exp(-extinction * street_depth(height, width) * patches)[..., None]
    airlight = AIRLIGHT * ambient_light(image)
    return to_display(airlight + (to_linear(image) - airlight) * seen)
