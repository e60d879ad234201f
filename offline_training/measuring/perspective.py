"""An object on the road in front of a camera: where a pinhole camera over flat ground sees it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ros2_ood_monitor.frame import UInt8Array


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks straight ahead over flat ground."""

    focal: float
    """Focal length in pixels of the image."""
    height: float
    """Above the ground, in metres."""
    horizon: float
    """Row of the horizon, in pixels."""
    centre: float
    """Column of the direction of travel, in pixels."""


@dataclass(frozen=True)
class Box:
    """Where an object is in the image, in pixels; parts may be outside."""

    left: float
    top: float
    width: float
    height: float


def seen(camera: Camera, distance: float, height: float, lateral: float, aspect: float) -> Box:
    """Return where a thing on the ground is seen: `height`, `distance` and `lateral` in metres.

    `lateral` is to the right of the direction of travel, `aspect` is width over height.

    >>> seen(Camera(500, 1.5, 180, 240), distance=10, height=1.0, lateral=0.0, aspect=1.0)
    Box(left=215.0, top=205.0, width=50.0, height=50.0)
    """
    scale = camera.focal / distance
    foot = camera.horizon + scale * camera.height
    middle = camera.centre + scale * lateral
    tall, wide = scale * height, scale * height * aspect
    return Box(middle - wide / 2, foot - tall, wide, tall)


def trimmed(cutout: UInt8Array) -> UInt8Array:
    """Return what is not transparent of a cut-out, so that its foot stands on the ground."""
    left, top, width, height = cv2.boundingRect((cutout[..., 3] > 127).astype(np.uint8))
    if not width:
        return cutout
    return np.ascontiguousarray(cutout[top : top + height, left : left + width])


def paste(image: UInt8Array, cutout: UInt8Array, box: Box) -> tuple[UInt8Array, UInt8Array]:
    """Return `image` (H, W, 3) with an RGBA cut-out in `box`, and its mask (H, W) of 0 and 1.

    Placed to fractions of a pixel, so that an object grows evenly from frame to frame; what is
    outside the image is cut off.
    """
    rows, columns = image.shape[:2]
    # Colours are weighted with alpha, as those of transparent pixels mean nothing.
    alpha = cutout[..., 3:].astype(np.float32) / 255
    layers = np.concatenate([cutout[..., :3] * alpha, alpha], axis=2)
    # Averaged first to at least its size in the image: interpolation alone would skip pixels.
    size = (
        min(cutout.shape[1], max(1, int(np.ceil(box.width)))),
        min(cutout.shape[0], max(1, int(np.ceil(box.height)))),
    )
    layers = cv2.resize(layers, size, interpolation=cv2.INTER_AREA)
    across, down = box.width / size[0], box.height / size[1]
    # OpenCV counts from the centre of the first pixel.
    place = np.array(
        [
            [across, 0, box.left + across / 2 - 0.5],
            [0, down, box.top + down / 2 - 0.5],
        ]
    )
    placed = cv2.warpAffine(layers, place, (columns, rows), flags=cv2.INTER_LINEAR)
    cover = placed[..., 3:]
    blended = image * (1 - cover) + placed[..., :3]
    mask = (cover[..., 0] > 0.5).astype(np.uint8)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8), mask
