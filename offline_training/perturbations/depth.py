"""Depth proxy for images without depth: a straight street between two rows of houses."""

from __future__ import annotations

import numpy as np

from ros2_ood_monitor.frame import Float32Array

HORIZON = 0.46
"""Of the height; the camera looks a little down."""
FOCAL = 0.9
"""Of the width: 58 degrees across."""
CAMERA_HEIGHT, HALF_STREET, ROOF_HEIGHT = 1.5, 9.0, 9.5
FARTHEST = 400.0
"""Metres, as the three above."""
TRAFFIC = 0.06
"""Tangent of the angle around the vanishing point that the farthest traffic fills."""


def street_depth(height: int, width: int) -> Float32Array:
    """Return metres per pixel, float32 (H, W): near below and at the sides, far at the horizon.

    Road, walls and the open sky end the line of sight; the first two's inverse distances add,
    which is a minimum without creases. Above the roofs, which fall towards the vanishing point
    as they do in a street, lies the farthest distance. Traffic stands around that point, so it is
    not the farthest one.
    """
    focal = FOCAL * width
    down = (((np.arange(height) + 0.5) - HORIZON * height) / focal)[:, None]
    across = np.hypot((np.arange(width) + 0.5 - width / 2) / focal, TRAFFIC)[None]
    roof = (ROOF_HEIGHT - CAMERA_HEIGHT) / HALF_STREET * across
    below_roof = 1 / (1 + np.exp(-np.clip((roof + down) / 0.08, -30, 30)))
    road = np.maximum(down, 0) / CAMERA_HEIGHT
    inverse = road + below_roof * across / HALF_STREET + 1 / FARTHEST
    return (1 / inverse).astype(np.float32)
