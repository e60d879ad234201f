"""Images, cut-outs and masks on disk for the tiny bundle, which knows grey and fears magenta."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from support.tiny_bundle import anomaly_image, normal_image

FIRST = 3
"""Number 2 is the most unusual normal image that the tiny bundle knows: held, it would alarm."""


def write_rgb(path: Path, image: np.ndarray) -> None:
    """Write an RGB or RGBA image as PNG, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = [2, 1, 0, 3][: image.shape[2]]
    cv2.imwrite(str(path), image[..., channels])


def normal_drive(folder: Path, count: int) -> Path:
    """Write grey images with noise."""
    for index in range(count):
        write_rgb(folder / f'{index:04d}.png', normal_image(index + FIRST))
    return folder


def magenta_cutouts(folder: Path, count: int = 2) -> Path:
    """Write square cut-outs that nobody could miss; their rim is transparent."""
    for index in range(count):
        cutout = np.zeros((40, 40, 4), np.uint8)
        cutout[4:36, 4:36] = (255, 0, 255, 255)
        write_rgb(folder / f'{index}.png', cutout)
    return folder


def grey_cutouts(folder: Path) -> Path:
    """Write a cut-out that looks like the world around it."""
    cutout = np.full((40, 40, 4), 255, np.uint8)
    cutout[..., :3] = 128
    write_rgb(folder / 'grey.png', cutout)
    return folder


def anomalies(folder: Path) -> Path:
    """Write two images with the magenta patch and one without, the patch's rim ignored."""
    for index in range(3):
        image = normal_image(FIRST) if index == 2 else anomaly_image(index)
        mask = np.zeros(image.shape[:2], dtype=np.uint8)
        if index < 2:
            mask[12:36, 20:48] = 255
            mask[16:32, 24:44] = 1
        write_rgb(folder / 'images' / f'{index}.png', image)
        (folder / 'labels_masks').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / 'labels_masks' / f'{index}.png'), mask)
    return folder
