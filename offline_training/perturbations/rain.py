"""Rain: motion-blurred drops near the camera, a grey veil of the many beyond."""

from __future__ import annotations

import cv2
import numpy as np

from offline_training.perturbations.base import checked
from offline_training.perturbations.depth import FOCAL, HORIZON, street_depth
from offline_training.perturbations.light import ambient_light, to_display, to_linear
from ros2_ood_monitor.frame import Float32Array, UInt8Array

HEAVIEST = 200.0
"""Millimetres per hour at severity 1: a cloudburst."""
DROPS = 4000
"""Drops drawn one by one at severity 1; farther ones only add to the veil."""
NEAREST, FARTHEST = 0.7, 5.0
FALL = 0.13
"""Metres that a drop falls while the shutter is open: 9 m/s for about 1/70 s."""
DIAMETER = 0.0022
"""Metres, of the streak's visible width: large drops, and a lens not focused on them."""
SHADES = 6
ROUND = 4
"""Fractional bits of line coordinates in OpenCV."""
SKY = 0.65
"""Of the ambient light: rain falls from clouds."""


@checked
def rain(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Add falling drops and the veil of rain, both in the colour of the overcast sky.

    The rate R is 200 mm/h x `severity`; the number of drops grows with it, and the extinction is
    0.312 R^0.67 per km. Streaks slant with one wind, spread away from where the car is heading,
    and are longer and wider the nearer they are; an opacity below one stands for their short stay.

    Source: Garg and Nayar, Vision and Rain, 2007 (streak = background mixed with sky light by
    time of stay); Weber et al., A multiscale model for rain rendering in real-time, 2015, and
    Halder et al., Physics-Based Rendering for Improving Robustness to Rain, 2019 (extinction).
    """
    height, width = image.shape[:2]
    streaks = _streaks(rng, height, width, severity)
    extinction = 0.312 * (HEAVIEST * severity) ** 0.67 / 1000
    clear = np.exp(-extinction * street_depth(height, width)) * (1 - streaks)
    sky = SKY * ambient_light(image)
    return to_display(sky + (to_linear(image) - sky) * clear[..., None])


def _streaks(rng: np.random.Generator, height: int, width: int, severity: float) -> Float32Array:
    """Return the opacity of all streaks, float32 (H, W) in 0..1."""
    wind, speed = rng.uniform(-0.35, 0.35), rng.uniform(0.1, 0.5)
    # Drops fill a volume, so most are far; every drop keeps its severity of first appearance.
    depth = (NEAREST**3 + rng.random(DROPS) * (FARTHEST**3 - NEAREST**3)) ** (1 / 3)
    start = rng.uniform(-0.1, 1.1, (DROPS, 2)) * (width, height)
    size = rng.gamma(6.0, 1 / 6, DROPS)
    slant = wind + 0.04 * rng.standard_normal(DROPS)
    born = rng.random(DROPS)
    flow = (start / (width, height) - (0.5, HORIZON)) * speed
    direction = np.stack([slant, np.ones(DROPS)], axis=1) + flow
    focal = FOCAL * width
    end = start + direction * (focal * FALL / depth)[:, None]
    thick = focal * DIAMETER * size / depth
    opacity = np.minimum(thick, 1) * np.minimum(0.15 + 0.25 * size, 0.7)
    shade = np.minimum(opacity * SHADES, SHADES - 1).astype(int)
    pens = np.clip(np.rint(thick), 1, None).astype(int)
    points = np.rint(np.stack([start, end], axis=1) * 2**ROUND).astype(np.int32)
    canvas = np.zeros((height, width), np.uint8)
    shown = born < severity
    for level in range(SHADES):  # brightest last: a near drop covers a far one
        for pen in np.unique(pens[shown & (shade == level)]):
            chosen = points[shown & (shade == level) & (pens == pen)]
            value = 255 * (level + 0.5) / SHADES
            cv2.polylines(canvas, list(chosen), False, value, int(pen), cv2.LINE_AA, ROUND)
    return np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0.6) / np.float32(255), np.float32)
