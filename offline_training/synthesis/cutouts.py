"""Cut-outs: real things with alpha, one image file each, pasted as unknown objects."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from offline_training.data.base import DataError
from offline_training.data.image_files import ImageFiles
from ros2_ood_monitor.frame import UInt8Array

SUFFIXES = ('.png', '.webp', '.tif', '.tiff')
"""Formats that hold an alpha channel."""
LICENCE_FILE = 'LICENSE.txt'
"""Beside the cut-outs: under which licence they may be used; copied into the provenance."""


class Cutouts(ImageFiles):
    """The cut-outs of a folder, decoded at every use; each is uint8 (H, W, 4), colours and alpha.

    Args:
        folder: searched with its folders.
        color_order: of the images that they are pasted into, `rgb` or `bgr`.

    Raises:
        DataError: the folder is missing or holds no image with alpha.
    """

    def __init__(self, folder: Path, color_order: str = 'rgb'):
        if not folder.is_dir():
            raise DataError(f'{folder}, the folder of cut-outs, does not exist; check the path')
        self.folder = folder
        self.bgr = color_order == 'bgr'
        super().__init__(
            sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES)
        )
        if not self.paths:
            raise DataError(
                f'{folder} holds no cut-outs: put images with an alpha channel there, one thing '
                f'in each ({", ".join(SUFFIXES)})'
            )
        self[0]

    @property
    def licence(self) -> str | None:
        """What the folder says about the licence of its cut-outs; None if it says nothing."""
        file = self.folder / LICENCE_FILE
        return file.read_text(encoding='utf-8').strip() if file.is_file() else None

    @property
    def identity(self) -> str:
        """Short digest of names and sizes: another set of cut-outs has another one."""
        listed = [f'{path.relative_to(self.folder)} {path.stat().st_size}' for path in self.paths]
        return hashlib.sha256('\n'.join(listed).encode()).hexdigest()[:16]

    def decode(self, path: Path) -> UInt8Array:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4:
            raise DataError(
                f'{path} is not an 8-bit image with alpha; remove it from the cut-outs'
            )
        if not image[..., 3].any():
            raise DataError(f'{path} is wholly transparent; remove it from the cut-outs')
        return np.asarray(
            image if self.bgr else cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), np.uint8
        )
