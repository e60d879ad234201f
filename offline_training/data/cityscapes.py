"""Cityscapes (Cordts et al. 2016), fine labels, 2048x1024, the 19 classes that are evaluated."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    VOID,
    DataError,
    LabelledFiles,
    Split,
    pair_files,
    require_split,
)

CLASSES: dict[str, tuple[int, int, int]] = {
    'road': (128, 64, 128),
    'sidewalk': (244, 35, 232),
    'building': (70, 70, 70),
    'wall': (102, 102, 156),
    'fence': (190, 153, 153),
    'pole': (153, 153, 153),
    'traffic light': (250, 170, 30),
    'traffic sign': (220, 220, 0),
    'vegetation': (107, 142, 35),
    'terrain': (152, 251, 152),
    'sky': (70, 130, 180),
    'person': (220, 20, 60),
    'rider': (255, 0, 0),
    'car': (0, 0, 142),
    'truck': (0, 0, 70),
    'bus': (0, 60, 100),
    'train': (0, 80, 100),
    'motorcycle': (0, 0, 230),
    'bicycle': (119, 11, 32),
}
"""Name and RGB colour in order of the train id; BDD100K has the same list."""

TRAIN_IDS = {train_id: train_id for train_id in range(len(CLASSES))} | {VOID: VOID}

_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LABEL_IDS = dict.fromkeys(range(34), VOID) | {
    label_id: train_id for train_id, label_id in enumerate(_EVALUATED)
}
_ENDINGS = {'_gtFine_labelIds': _LABEL_IDS, '_gtFine_labelTrainIds': TRAIN_IDS}
_ARCHIVES = {'leftImg8bit': 'leftImg8bit_trainvaltest.zip', 'gtFine': 'gtFine_trainvaltest.zip'}


class Cityscapes(LabelledFiles):
    """One split: `root/leftImg8bit/{split}/{city}/*_leftImg8bit.png` and `root/gtFine/...`.

    Labels are the official `*_gtFine_labelIds.png`, or `*_gtFine_labelTrainIds.png` where only
    those exist; ids that are not evaluated are read as 255. A sequence is a city.

    Raises:
        DataError: The split is test, whose labels are not public, or unknown, or folders or files
            are missing; on reading also for unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, ('train', 'val', 'test'), 'Cityscapes')
        root = Path(root)
        if split == 'test':
            raise DataError(
                f'The labels of the Cityscapes test split are not public ({root / "gtFine/test"} '
                'marks only the own car and the borders): use val.'
            )
        folders = [root / kind / split for kind in _ARCHIVES]
        for folder, archive in zip(folders, _ARCHIVES.values(), strict=True):
            if not folder.is_dir():
                raise DataError(f'{folder} is not a folder: unpack {archive} into {root}.')
        images, labels = folders
        found = [path.name for folder in folders for path in folder.iterdir() if path.is_dir()]
        cities = sorted(set(found))
        if not cities:
            raise DataError(
                f'{images} holds no folders of cities: unpack {_ARCHIVES["leftImg8bit"]} '
                f'into {root}.'
            )
        endings = [ending for ending in _ENDINGS if any(labels.glob(f'*/*{ending}.*'))]
        ending = endings[0] if endings else next(iter(_ENDINGS))
        files = [
            pair
            for city in cities
            for pair in pair_files(images / city, labels / city, ending, '_leftImg8bit', True)
        ]
        super().__init__(
            files,
            _ENDINGS[ending],
            [pair.image.stem.removesuffix('_leftImg8bit') for pair in files],
            [pair.image.parent.name for pair in files],
        )
