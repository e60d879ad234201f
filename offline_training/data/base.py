"""What every data set has in common: samples, file pairing and label checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import cv2
import numpy as np

from ros2_ood_monitor.detection import UNLABELED
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.supervision.decoding import InputFault, decode_image

Split = Literal['train', 'val', 'test']

VOID = UNLABELED
"""Label of pixels that neither train nor count."""

IMAGE_SUFFIXES = frozenset({'.png', '.webp', '.jpg', '.jpeg', '.bmp', '.ppm', '.tif', '.tiff'})

SHARES = {'train': (0.0, 0.7), 'val': (0.7, 0.85), 'test': (0.85, 1.0)}
"""Start and end, as shares in order of names, of the splits of a set that has none of its own."""

T = TypeVar('T')


class DataError(ValueError):
    """A data set on disk is not usable; the sentence names the file and what to do."""


@dataclass(frozen=True, eq=False)
class SegmentationSample:
    """One labelled image: `image` uint8 RGB (H, W, 3), `labels` uint8 (H, W), 255 = void.

    `sequence` names the recording that the frame is from ('' if unknown): frames of one sequence
    look alike, so splits and confidence intervals go by sequence.
    """

    image: UInt8Array
    labels: UInt8Array
    name: str
    sequence: str = ''


class Samples(Protocol):
    """Labelled images by index; `names` and `sequences` may tell more without decoding."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read one sample; raises DataError if its files are not usable."""


class SegmentationDataset(Samples, Protocol):
    """An indexable set of labelled images with its class list (label value = position)."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes; void is not among them."""

    @property
    def palette(self) -> Sequence[tuple[int, int, int]]:
        """One RGB colour per class."""


def anomaly_mask(labels: UInt8Array, anomaly_labels: Sequence[int]) -> UInt8Array:
    """Return a mask: 1 where the label is an anomaly's, 255 where it is void, else 0.

    `anomaly_labels` is an attribute of the sets with labelled unknowns. Where unknown objects are
    not classes of the set, their labels begin at len(class_names), so that no prediction equals
    them.
    """
    table = np.zeros(256, np.uint8)
    table[list(anomaly_labels)] = 1
    table[VOID] = VOID
    return table[labels]


@dataclass(frozen=True)
class FilePair:
    """An image and the image of its labels."""

    image: Path
    labels: Path


class LabelledFiles:
    """Images and label images on disk; `names` and `sequences` are known without decoding.

    A subclass says where the files lie and which `class_names` and `palette` its labels have.

    Args:
        files: The images with their labels, in the order in which they are read.
        table: Label by value in the files; other values are refused.
        names: One per image, else the stems of the images.
        sequences: One per image, '' where it is not known, as none is by default.
    """

    turn_upright = True
    """Whether the orientation in a file's EXIF data applies."""

    def __init__(
        self,
        files: Sequence[FilePair],
        table: dict[int, int],
        names: Sequence[str] = (),
        sequences: Sequence[str] = (),
    ) -> None:
        self.files, self.table = files, table
        self.names = tuple(names) or tuple(pair.image.stem for pair in files)
        self.sequences = tuple(sequences) or ('',) * len(files)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read image `index`; raises DataError for unreadable or wrongly labelled files."""
        pair = self.files[index]
        image = read_image(pair.image, self.turn_upright)
        labels = map_labels(read_labels(pair.labels, image), self.table_of(pair), pair.labels)
        return SegmentationSample(image, labels, self.names[index], self.sequences[index])

    def table_of(self, pair: FilePair) -> dict[int, int]:
        """Return the table for one file of labels."""
        return self.table


def require_split(split: str, splits: Sequence[str], name: str) -> None:
    """Raise DataError unless `split` is one of the `splits` of the data set `name`."""
    if split not in splits:
        raise DataError(
            f'{split!r} is not a split of {name}: use {", ".join(splits[:-1])} or {splits[-1]}.'
        )


def cut_in_order(items: list[T], shares: tuple[float, float], folder: Path, split: str) -> list[T]:
    """Return the items from one share (0..1) of the list to another; DataError if none is left.

    Neighbouring frames of a sequence are nearly equal, so a random split would test on training
    images.
    """
    first, last = (round(share * len(items)) for share in shares)
    if first == last:
        raise DataError(
            f'{folder} has {len(items)} images, too few to cut off a {split} split: '
            'add images or give the splits.'
        )
    return items[first:last]


def pair_files(
    images: Path,
    labels: Path,
    label_stem_suffix: str = '',
    image_stem_suffix: str = '',
    only_suffixed: bool = False,
) -> list[FilePair]:
    """Pair the images in two folders by file stem, sorted by stem.

    Args:
        images: Folder of images.
        labels: Folder of label images of the same stem.
        label_stem_suffix: Ending that a label's stem may carry beyond the common stem.
        image_stem_suffix: Ending that an image's stem may carry beyond the common stem.
        only_suffixed: Skip files without the endings: they are something else.

    Raises:
        DataError: A folder is missing or empty, or an image has no labels or the reverse.
    """
    ending = label_stem_suffix if only_suffixed else ''
    return match_stems(
        files_by_stem(images, image_stem_suffix, only_suffixed),
        files_by_stem(labels, label_stem_suffix, only_suffixed),
        labels / f'*{ending}.png',
    )


def match_stems(
    image_files: dict[str, Path], label_files: dict[str, Path], wanted: Path
) -> list[FilePair]:
    """Pair images and labels of equal stem, sorted by stem.

    Raises:
        DataError: One has no partner; the sentence names `wanted` with the stem for its `*`.
    """
    for stem in sorted(image_files.keys() ^ label_files.keys()):
        if stem in image_files:
            missing = wanted.with_name(wanted.name.replace('*', stem))
            raise DataError(
                f'{image_files[stem]} has no labels: add {missing} or remove the image.'
            )
        raise DataError(
            f'{label_files[stem]} has no image of the same name: add one or remove the labels.'
        )
    return [FilePair(image_files[stem], label_files[stem]) for stem in sorted(image_files)]


def files_by_stem(folder: Path, suffix: str = '', only_suffixed: bool = False) -> dict[str, Path]:
    """Return the images of a folder by stem without `suffix`; DataError if there is none."""
    if not folder.is_dir():
        raise DataError(f'{folder} is not a folder: check the data path or create it.')
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith('.'):
            continue
        if only_suffixed and not path.stem.endswith(suffix):
            continue
        stem = path.stem.removesuffix(suffix)
        if stem in found:
            raise DataError(f'{path} and {found[stem].name} are the same frame: remove one.')
        found[stem] = path
    if not found:
        kind = ', '.join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f'{folder} holds no images ({f"*{suffix}: " if only_suffixed else ""}{kind}): '
            'check the data path or fill the folder.'
        )
    return found


def read_image(path: Path, turn_upright: bool = True) -> UInt8Array:
    """Read an image as uint8 RGB (H, W, 3); raises DataError if it cannot be decoded.

    With `turn_upright` the orientation stored in the file (EXIF) is applied.
    """
    try:
        return decode_image(np.fromfile(path, np.uint8), turn_upright=turn_upright)
    except (OSError, InputFault) as error:
        raise DataError(
            f'{path} cannot be read as an image: {error}; replace the file.'
        ) from error


def read_labels(path: Path, like: UInt8Array | None = None) -> UInt8Array:
    """Read label values as uint8 (H, W), of the same size as the image `like` if given.

    Raises:
        DataError: The file cannot be decoded, is not 8-bit single-channel, or differs in size.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise DataError(f'{path} cannot be read as an image: replace the file.')
    if labels.ndim == 3 and (labels[..., :3] == labels[..., :1]).all():
        labels = labels[..., 0]
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(
            f'{path} has shape {labels.shape} and type {labels.dtype}: save the label values as '
            'an 8-bit greyscale image (no colours, no palette).'
        )
    if like is not None and labels.shape != like.shape[:2]:
        raise DataError(
            f'{path} is {labels.shape[1]}x{labels.shape[0]} but its image is '
            f'{like.shape[1]}x{like.shape[0]}: resize the labels with nearest neighbour.'
        )
    return np.asarray(labels, np.uint8)


def labels_at_size(labels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize labels to rows and columns; each pixel takes the label nearest to its centre."""
    if labels.shape == size:
        return labels
    return np.asarray(
        cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8
    )


def map_labels(labels: UInt8Array, table: dict[int, int], path: Path) -> UInt8Array:
    """Replace label values by `table`; raises DataError naming the values that are not in it."""
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
