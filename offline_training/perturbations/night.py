"""Night: little light, artificial colours, headlights, and the noise of a sensor at high gain."""

from __future__ import annotations

import numpy as np

from offline_training.perturbations.base import checked
from offline_training.perturbations.depth import HORIZON
from offline_training.perturbations.light import to_display, to_linear
from ros2_ood_monitor.frame import Float32Array, UInt8Array

DARKEST = 0.015
"""Share of light left at severity 1 outside the headlights."""
GAIN_SHARE = 0.6
"""Share of the lost stops that the camera's automatic gain restores."""
DUSK = 0.75
"""Exponent of severity over which the logarithm of the light falls."""
FULL_WELL = 2500.0
"""Electrons of a white pixel of a small automotive sensor."""
READ_NOISE = 3.0
"""Electrons, standard deviation."""
LAMPS = np.array([[1.0, 0.72, 0.38], [1.0, 0.9, 0.75], [0.85, 0.95, 1.0]], np.float32)
"""Sodium, warm white and cold white street light; linear RGB."""


@checked
def night(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Reduce the light and model the camera's response.

    Daylight falls to 1.5 % at `severity` 1, most at the top where no lamp shines; a headlight pool
    stays on the road; street lamps colour it. The camera raises its gain, which also raises shot
    noise and read noise, its tone curve crushes the shadows, and its open lens darkens the
    corners (cos^4).

    Source: photon transfer model of EMVA standard 1288; Foi et al., Practical
    Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data, 2008; cos^4 law.
    """
    height, width = image.shape[:2]
    lamp = LAMPS[rng.integers(len(LAMPS))] * rng.uniform(0.9, 1.0, 3).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32)
    left = DARKEST * _illumination(height, width)[..., None] * lamp
    dusk = severity**DUSK
    light = to_linear(image) * left**dusk
    gain = DARKEST ** (-GAIN_SHARE * dusk)
    electrons = FULL_WELL * light
    electrons += dusk * np.sqrt(electrons + READ_NOISE**2) * noise
    exposed = np.clip(electrons * (gain / FULL_WELL), 0, 1)
    return to_display(exposed ** np.float32(1 + 0.2 * dusk))


def _illumination(height: int, width: int) -> Float32Array:
    """Light of night over daylight, float32 (H, W), 1 for street light alone."""
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - HORIZON)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5)[None]
    sky = 1 / (1 + np.exp((y + 0.12) / -0.08))
    pool = 16 * np.exp(-((x / (0.12 + 0.5 * np.maximum(y, 0))) ** 2) - ((y - 0.16) / 0.15) ** 2)
    vignette = 1 / (1 + 1.1 * (x**2 + (y + HORIZON - 0.5) ** 2)) ** 2
    return ((0.04 + 0.96 * sky + pool) * vignette).astype(np.float32)
