"""The one preprocessing: camera image to network input, shared by training, export and robot.

A different resize or colour order shifts anomaly scores without any visible error, so nothing
else in the project resizes or reorders what a network sees. Mean and standard deviation are
folded into the backbone's graph, which takes bytes.
"""

from __future__ import annotations

import cv2
import numpy as np

from ros2_ood_monitor.frame import UInt8Array

COLOR_ORDERS = ('rgb', 'bgr')


def prepare(image: UInt8Array, width: int, height: int, color_order: str) -> UInt8Array:
    """Return `image` uint8 RGB (H, W, 3) as network input uint8 (1, height, width, 3).

    Bilinear resize; area averaging when a side shrinks by more than 2, where bilinear would
    alias. The result is C-contiguous and may share memory with `image`. Raises ValueError for
    another dtype, layout or colour order, or an empty image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f'the image is {image.dtype} {image.shape}; pass a non-empty uint8 RGB (H, W, 3) array'
        )
    if color_order not in COLOR_ORDERS:
        raise ValueError(f'color_order {color_order!r} is unknown; use one of {COLOR_ORDERS}')
    rows, columns = image.shape[:2]
    if (rows, columns) != (height, width):
        shrinks = columns > 2 * width or rows > 2 * height
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = _uint8(cv2.resize(image, (width, height), interpolation=interpolation))
    if color_order == 'bgr':
        image = _uint8(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return np.ascontiguousarray(image)[np.newaxis]


def _uint8(image: object) -> UInt8Array:
    """Narrow cv2's return type; no copy."""
    return np.asarray(image, np.uint8)
