"""StreetHazards (Hendrycks et al. 2022, CAOS benchmark), CARLA images of 1280x720."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    DataError,
    LabelledFiles,
    Split,
    require_split,
)
from offline_training.data.odgt import read_odgt

CLASSES: dict[str, tuple[int, int, int]] = {
    'unlabeled': (0, 0, 0),
    'building': (70, 70, 70),
    'fence': (190, 153, 153),
    'other': (250, 170, 160),
    'pedestrian': (220, 20, 60),
    'pole': (153, 153, 153),
    'road line': (157, 234, 50),
    'road': (128, 64, 128),
    'sidewalk': (244, 35, 232),
    'vegetation': (107, 142, 35),
    'car': (0, 0, 142),
    'wall': (102, 102, 156),
    'traffic sign': (220, 220, 0),
}
"""Name and RGB colour in label order. `unlabeled` is mostly sky, which CARLA did not label: the
benchmark trains and tests it as a class."""

ANOMALY = len(CLASSES)
"""13: the objects that only the test images show."""

_LISTS = {
    'train': ('train', 'train.odgt'),
    'val': ('train', 'validation.odgt'),
    'test': ('test', 'test.odgt'),
}


class StreetHazards(LabelledFiles):
    """One split: `root/{train,test}/{train,validation,test}.odgt` and what these files list.

    Those are the folders of the two archives; the lists may also lie in `root` itself or in
    `root/streethazards_{train,test}/{train,test}`. Files hold the label plus 1, so 14 is the
    anomaly, read as `anomaly_labels`. A sequence is a town (the folder of the image); no town
    is in two splits.

    Raises:
        DataError: The split is unknown, or a list or a file that it names is missing; on reading
            also for unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())
    anomaly_labels = (ANOMALY,)

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, tuple(_LISTS), 'StreetHazards')
        files = read_odgt(_find_list(Path(root), *_LISTS[split]))
        last = ANOMALY if split == 'test' else ANOMALY - 1
        # Image numbers begin anew in every town.
        super().__init__(
            files,
            {label + 1: label for label in range(last + 1)},
            [f'{pair.image.parent.name}_{pair.image.stem}' for pair in files],
            [pair.image.parent.name for pair in files],
        )


def _find_list(root: Path, archive: str, name: str) -> Path:
    places = (root / archive, root, root / f'streethazards_{archive}' / archive)
    for folder in places:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f'{places[0] / name} is missing: unpack streethazards_{archive}.tar into {root}.'
    )
