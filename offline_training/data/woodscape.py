"""WoodScape (Yogamani et al. 2019): fisheye images of 1280x966 with 9 classes, and soiled ones.

The labels of the official test images are not public, so the splits here are cut from the
labelled ones.
"""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    SHARES,
    VOID,
    DataError,
    FilePair,
    LabelledFiles,
    Split,
    cut_in_order,
    pair_files,
    require_split,
)

CLASSES: dict[str, tuple[int, int, int]] = {
    'road': (255, 0, 255),
    'lanemarks': (0, 0, 255),
    'curb': (0, 255, 0),
    'person': (255, 0, 0),
    'rider': (255, 255, 255),
    'vehicles': (0, 255, 255),
    'bicycle': (255, 255, 0),
    'motorcycle': (255, 128, 128),
    'traffic_sign': (128, 128, 0),
}
"""Name and RGB colour in label order; in the files 0 is void (buildings, sky, all else)."""

SOILING: dict[str, tuple[int, int, int]] = {
    'clean': (0, 0, 0),
    'transparent': (0, 255, 0),
    'semi_transparent': (0, 0, 255),
    'opaque': (255, 0, 0),
}
"""How much a pixel of the lens is soiled, in label order."""

_SOILING_SHARES = {'train': (0.0, 0.85), 'val': (0.85, 1.0)}


class WoodScape(LabelledFiles):
    """One split of `root/rgb_images/*.png` with `root/semantic_annotations/gtLabels/*.png`.

    The archives may lie unpacked in a folder of their own name (`rgb_images/rgb_images`). If
    `root/{split}.txt` exists, one file name per line, it is the split (the omnidet lists of the
    WoodScape repository are such); else the images are cut in order of names into the first 70 %
    train, 15 % val, 15 % test. Void is read as 255: to learn "none of these" as the original
    papers do, set `backbone.train_void`. Frames are sampled; their sequences are not known.

    Raises:
        DataError: The split is unknown or empty, or folders or files are missing; on reading also
            for unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, tuple(SHARES), 'WoodScape')
        root = Path(root)
        images = _unpacked(root, 'rgb_images')
        labels = _unpacked(root, 'semantic_annotations') / 'gtLabels'
        files = pair_files(images, labels)
        names = root / f'{split}.txt'
        if names.is_file():
            files = _listed(files, names)
        else:
            files = cut_in_order(files, SHARES[split], images, split)
        super().__init__(files, {0: VOID} | {n + 1: n for n in range(len(CLASSES))})


class WoodScapeSoiling(LabelledFiles):
    """One split of `root/soiling_dataset/{train,test}/rgbImages` with `gtLabels` beside it.

    `root` may be the soiling_dataset folder itself. The last 15 % of the train folder in order of
    names are val. Every label but `clean` is an anomaly. Sequences are not known.

    Raises:
        DataError: The split is unknown or empty, or folders or files are missing; on reading also
            for unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(SOILING)
    palette = tuple(SOILING.values())
    anomaly_labels = (1, 2, 3)

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, ('train', 'val', 'test'), 'WoodScape soiling')
        root = Path(root)
        base = _unpacked(root, 'soiling_dataset') if (root / 'soiling_dataset').is_dir() else root
        folder = base / ('test' if split == 'test' else 'train')
        if not folder.is_dir():
            raise DataError(f'{folder} is not a folder: unpack soiling_dataset.zip into {root}.')
        files = pair_files(folder / 'rgbImages', folder / 'gtLabels')
        if split != 'test':
            files = cut_in_order(files, _SOILING_SHARES[split], folder / 'rgbImages', split)
        super().__init__(files, {label: label for label in range(len(SOILING))})


def _unpacked(root: Path, name: str) -> Path:
    folder = root / name
    if not folder.is_dir():
        raise DataError(f'{folder} is not a folder: unpack {name}.zip of WoodScape into {root}.')
    return folder / name if (folder / name).is_dir() else folder


def _listed(files: list[FilePair], path: Path) -> list[FilePair]:
    by_name = {pair.image.name: pair for pair in files}
    lines = path.read_text(encoding='utf-8').split()
    if not lines:
        raise DataError(f'{path} lists no images: fill or remove it.')
    unknown = [line for line in lines if line not in by_name]
    if unknown:
        raise DataError(
            f'{path} lists {unknown[0]}, which has no labels here (the official test images '
            'have none): correct or remove the list.'
        )
    return [by_name[line] for line in lines]
