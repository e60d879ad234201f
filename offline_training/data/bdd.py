"""BDD100K (Yu et al. 2020), the 10,000 images with semantic labels, 1280x720, 19 classes."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    DataError,
    FilePair,
    LabelledFiles,
    Split,
    pair_files,
    require_split,
)
from offline_training.data.cityscapes import CLASSES, TRAIN_IDS

LAYOUTS = (
    ('images/10k', 'labels/sem_seg/masks'),  # since 2021
    ('seg/images', 'seg/labels'),  # 2018
)
"""Folders of images and of labels, below the root or below root/bdd100k."""


class BDD100K(LabelledFiles):
    """One split: `root/images/10k/{split}/*.jpg` and `root/labels/sem_seg/masks/{split}/*.png`.

    The layout of 2018, `root/seg/images` and `root/seg/labels/{split}/*_train_id.png`, is read as
    well, and either may lie in root/bdd100k. The sequences of the images are not known.

    Raises:
        DataError: The split is test, whose labels are not public, or unknown, or folders or files
            are missing; on reading also for unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())
    # Labels belong to the pixels as stored.
    turn_upright = False

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, ('train', 'val', 'test'), 'BDD100K')
        if split == 'test':
            raise DataError('The labels of the BDD100K test split are not public: use val.')
        super().__init__(labelled_files(Path(root), split), TRAIN_IDS)


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
