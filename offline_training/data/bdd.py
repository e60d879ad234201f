"""BDD100K (Yu et al. 2020), the 10,000 images with semantic labels, 1280x720, 19 classes."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    DataError,
    FilePair,
    SegmentationSample,
    Split,
    map_labels,
    pair_files,
    read_image,
    read_labels,
    require_split,
)
from offline_training.data.cityscapes import CLASSES, TRAIN_IDS

LAYOUTS = (
    ('images/10k', 'labels/sem_seg/masks'),  # since 2021
    ('seg/images', 'seg/labels'),  # 2018
)
"""Folders of images and of labels, below the root or below root/bdd100k."""


class BDD100K:
    """One split: `root/images/10k/{split}/*.jpg` and `root/labels/sem_seg/masks/{split}/*.png`.

    The layout of 2018, `root/seg/images` and `root/seg/labels/{split}/*_train_id.png`, is read as
    well, and either may lie in root/bdd100k. The sequences of the images are not known.

    Raises:
        DataError: The split is test, whose labels are not public, or unknown, or folders or files
            are missing; on reading also for unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, ('train', 'val', 'test'), 'BDD100K')
        if split == 'test':
            raise DataError('The labels of the BDD100K test split are not public: use val.')
        self.files = labelled_files(Path(root), split)
        self.names = tuple(pair.image.stem for pair in self.files)
        self.sequences = ('',) * len(self.files)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read image `index` in order of names."""
        return read_sample(self.files[index], TRAIN_IDS)


def labelled_files(root: Path, split: str) -> list[FilePair]:
    """Return the labelled images of `train` or `val` in whichever layout is there.

    Raises:
        DataError: Neither layout is there, or an image has no labels or the reverse.
    """
    for base in (root, root / 'bdd100k'):
        for images, labels in LAYOUTS:
            if (base / images / split).is_dir():
                return pair_files(base / images / split, base / labels / split, '_train_id')
    raise DataError(
        f'{root} has neither {LAYOUTS[0][0]}/{split} nor {LAYOUTS[1][0]}/{split}: unpack the '
        '"10K Images" and "Segmentation" archives of BDD100K into it.'
    )


def read_sample(pair: FilePair, table: dict[int, int]) -> SegmentationSample:
    """Read an image and its labels, replaced by `table`; raises DataError as the classes do."""
    # Labels belong to the pixels as stored; the orientation in the file's EXIF data does not
    # apply.
    image = read_image(pair.image, turn_upright=False)
    labels = map_labels(read_labels(pair.labels, image), table, pair.labels)
    return SegmentationSample(image, labels, pair.image.stem)
