"""A small canvas for out-of-focus layers: drawn at low resolution, enlarged to the image."""

from __future__ import annotations

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array

SIDE = 240
"""Shorter side of a canvas; what lies on or in the lens has no finer detail."""


def canvas_size(image: UInt8Array) -> tuple[int, int]:
    """Return height and width of the canvas for an image (H, W, 3), never larger than it."""
    height, width = image.shape[:2]
    shrink = max(1.0, min(height, width) / SIDE)
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def enlarge(field: Float32Array, image: UInt8Array) -> Float32Array:
    """Resize a field (h, w) or (h, w, 3) to the size of the image."""
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR), np.float32)
