"""Textures with a real-world size that the canvas puts into the image."""

from __future__ import annotations

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array


class Sprite:
    """A flat image of `width` x `height` metres with transparency and one class label.

    Colours are kept premultiplied by alpha, so that shrinking and blending leave no rims.
    """

    def __init__(
        self,
        rgb: UInt8Array | Float32Array,
        alpha: UInt8Array,
        width: float,
        height: float,
        label: int,
    ) -> None:
        self.width, self.height, self.label = width, height, label
        opacity = alpha[..., None].astype(np.float32) / 255
        colors = np.clip(rgb.astype(np.float32), 0, 255) * opacity
        rgba = np.dstack([colors, alpha.astype(np.float32)])
        self._levels: dict[tuple[int, int], UInt8Array] = {
            (0, 0): np.ascontiguousarray(rgba + 0.5, np.uint8)
        }

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the full-size texture."""
        rows, columns = self._levels[0, 0].shape[:2]
        return rows, columns

    def level(self, columns: float, rows: float) -> UInt8Array:
        """Return the RGBA texture for being shrunk by these factors, prefiltered by area."""
        size = self.shape
        key = tuple(
            min(max(int(np.log2(max(factor, 1.0)) + 0.4), 0), int(np.log2(length)))
            for factor, length in ((columns, size[1]), (rows, size[0]))
        )
        found = self._levels.get((key[0], key[1]))
        if found is None:
            shape = (max(size[1] >> key[0], 1), max(size[0] >> key[1], 1))
            full = self._levels[0, 0]
            found = np.asarray(cv2.resize(full, shape, interpolation=cv2.INTER_AREA), np.uint8)
            self._levels[key[0], key[1]] = found
        return found

    def mirrored(self) -> Sprite:
        """Return the sprite seen in a mirror."""
        twin = object.__new__(Sprite)
        twin.width, twin.height, twin.label = self.width, self.height, self.label
        twin._levels = {(0, 0): np.ascontiguousarray(self._levels[0, 0][:, ::-1])}
        return twin
