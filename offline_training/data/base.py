"""What every data set has in common: samples, file pairing and label checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ros2_ood_monitor.frame import UInt8Array

VOID = 255
"""Label of pixels that neither train nor count."""

IMAGE_SUFFIXES = frozenset({'.png', '.webp', '.jpg', '.jpeg', '.bmp', '.ppm', '.tif', '.tiff'})


class DataError(ValueError):
    """A data set on disk is not usable; the sentence names the file and what to do."""


@dataclass(frozen=True, eq=False)
class SegmentationSample:
    """One labelled picture: `image` uint8 RGB (H, W, 3), `labels` uint8 (H, W), 255 = void.

    `sequence` names the drive the frame is from ('' if unknown): frames of one drive look alike,
    so splits and confidence intervals go by drive.
    """

    image: UInt8Array
    labels: UInt8Array
    name: str
    sequence: str = ''


@dataclass(frozen=True, eq=False)
class AnomalySample:
    """One picture with unknowns: `image` uint8 RGB (H, W, 3), `mask` uint8 (H, W).

    The mask is 1 where something unknown is, 0 where not, 255 where nobody can tell.
    """

    image: UInt8Array
    mask: UInt8Array
    name: str


class SegmentationDataset(Protocol):
    """An indexable set of labelled pictures with its class list (label value = position)."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes; void is not among them."""
        ...

    @property
    def palette(self) -> Sequence[tuple[int, int, int]]:
        """One RGB colour per class."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read one sample; raises DataError if its files are not usable."""
        ...


@dataclass(frozen=True)
class FilePair:
    """A picture and the picture of its labels."""

    image: Path
    labels: Path


def pair_files(images: Path, labels: Path, label_stem_suffix: str = '') -> list[FilePair]:
    """Pair the pictures in two folders by file stem, sorted by stem.

    Args:
        images: Folder of pictures.
        labels: Folder of label pictures of the same stem.
        label_stem_suffix: Ending that a label's stem may carry beyond the picture's stem.

    Raises:
        DataError: A folder is missing or empty, or a picture has no labels or the reverse.
    """
    image_files = _by_stem(images, '')
    label_files = _by_stem(labels, label_stem_suffix)
    for stem in sorted(image_files.keys() ^ label_files.keys()):
        if stem in image_files:
            raise DataError(
                f'{image_files[stem]} has no labels: add {labels / (stem + ".png")} '
                'or remove the picture.'
            )
        raise DataError(
            f'{label_files[stem]} has no picture: add {stem}.png to {images} or remove the labels.'
        )
    return [FilePair(image_files[stem], label_files[stem]) for stem in sorted(image_files)]


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f'{folder} is not a folder: check the data path or create it.')
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith('.'):
            continue
        stem = path.stem.removesuffix(suffix)
        if stem in found:
            raise DataError(f'{path} and {found[stem].name} are the same frame: remove one.')
        found[stem] = path
    if not found:
        raise DataError(
            f'{folder} holds no pictures ({", ".join(sorted(IMAGE_SUFFIXES))}): '
            'check the data path or fill the folder.'
        )
    return found


def read_image(path: Path) -> UInt8Array:
    """Read a picture as uint8 RGB (H, W, 3); raises DataError if it cannot be decoded."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f'{path} cannot be read as a picture: replace the file.')
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def read_labels(path: Path, like: UInt8Array) -> UInt8Array:
    """Read label values as uint8 (H, W) of the same size as the picture `like`.

    Raises:
        DataError: The file cannot be decoded, is not 8-bit single-channel, or differs in size.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise DataError(f'{path} cannot be read as a picture: replace the file.')
    if labels.ndim == 3 and (labels[..., :3] == labels[..., :1]).all():
        labels = labels[..., 0]
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(
            f'{path} has shape {labels.shape} and type {labels.dtype}: save the label values as '
            'an 8-bit greyscale picture (no colours, no palette).'
        )
    if labels.shape != like.shape[:2]:
        raise DataError(
            f'{path} is {labels.shape[1]}x{labels.shape[0]} but its picture is '
            f'{like.shape[1]}x{like.shape[0]}: resize the labels with nearest neighbour.'
        )
    return np.asarray(labels, np.uint8)


def map_labels(labels: UInt8Array, table: dict[int, int], path: Path) -> UInt8Array:
    """Replace label values by `table`; raises DataError naming values that it does not have."""
    lookup = np.zeros(256, np.uint8)
    known = np.zeros(256, bool)
    for value, target in table.items():
        lookup[value] = target
        known[value] = True
    if not known[labels].all():
        wrong = [int(value) for value in np.unique(labels[~known[labels]])]
        raise DataError(
            f'{path} holds the label value{"s" if len(wrong) > 1 else ""} '
            f'{", ".join(map(str, wrong))}, known are {_ranges(sorted(table))}: '
            'correct the labels or the class list.'
        )
    return np.asarray(lookup[labels], np.uint8)


def _ranges(values: list[int]) -> str:
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ', '.join(f'{low}' if low == high else f'{low}-{high}' for low, high in parts)
