"""Images inside a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from ros2_ood_monitor.frame import UInt8Array

WIDEST = 640
"""Images are shrunk to this many columns."""
QUALITY = 82


@dataclass(frozen=True, eq=False)
class ImageRow:
    """Images side by side, such as a frame, its truth and its maps."""

    title: str
    """May be empty where the images' own labels say all."""
    caption: str
    images: Sequence[tuple[str, UInt8Array]]
    """Each with its label: uint8 (H, W, 3) in 0..255, RGB."""


def data_uri(image: UInt8Array) -> str:
    """Return an RGB image as an embedded WebP file: a third of a JPEG's size on flat maps."""
    rows, columns = image.shape[:2]
    if columns > WIDEST:
        size = (WIDEST, max(1, round(rows * WIDEST / columns)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, data = cv2.imencode('.webp', image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return 'data:image/webp;base64,' + base64.b64encode(data.tobytes()).decode('ascii')
