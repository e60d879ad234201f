"""The images of a folder in order of names, labelled or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from offline_training.data.base import files_by_stem, read_image
from offline_training.data.image_files import ImageFiles
from ros2_ood_monitor.frame import UInt8Array

T = TypeVar('T')


class ImageFolder(ImageFiles):
    """Images uint8 RGB (H, W, 3) of `folder`, or of its `images/`, decoded at every use.

    Raises:
        DataError: there are none; on reading also for files that are no images.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / 'images'
        super().__init__(list(files_by_stem(inner if inner.is_dir() else folder).values()))

    def decode(self, path: Path) -> UInt8Array:
        return read_image(path)


def spread(images: Sequence[T], count: int) -> list[T]:
    """Return `count` of the images, evenly spread: neighbours in a sequence are nearly equal."""
    if len(images) <= count:
        return list(images)
    return [images[round((index + 0.5) * len(images) / count - 0.5)] for index in range(count)]
