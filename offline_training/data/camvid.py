"""CamVid (Brostow, Fauqueur, Cipolla 2009) in the SegNet split, 480x360, 11 classes and void.

CamVid-OOD (Besnier et al. 2021) are its test frames with one object pasted into each.
"""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    VOID,
    DataError,
    FilePair,
    LabelledFiles,
    Split,
    pair_files,
    require_split,
)

CLASSES: dict[str, tuple[int, int, int]] = {
    'sky': (128, 128, 128),
    'building': (128, 0, 0),
    'pole': (192, 192, 128),
    'road': (128, 64, 128),
    'pavement': (60, 40, 222),
    'tree': (128, 128, 0),
    'sign': (192, 128, 128),
    'fence': (64, 64, 128),
    'car': (64, 0, 128),
    'pedestrian': (64, 64, 0),
    'bicyclist': (0, 128, 192),
}
"""Name and RGB colour in label order."""

_TABLE = {label: label for label in range(len(CLASSES))} | {len(CLASSES): VOID}
"""Label by value in the files."""
ANOMALY = 12
"""Label of the pasted objects of CamVid-OOD."""
_LAYOUTS = (('images', 'labels'), ('test_ood', 'testannot_ood'))


class CamVid(LabelledFiles):
    """One split of CamVid: `root/{split}/*` (.png or .webp) and `root/{split}annot/*.png`.

    Label 11 (void) is read as 255. The `val` split is one contiguous 15 Hz sequence.

    Raises:
        DataError: The split is unknown, or folders or files are missing; on reading also for
            unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, ('train', 'val', 'test'), 'CamVid')
        files = pair_files(Path(root) / split, Path(root) / f'{split}annot')
        super().__init__(files, _TABLE, sequences=_sequences(files))


class CamVidOOD(LabelledFiles):
    """`root/images` and `root/labels`, or `root/test_ood` and `root/testannot_ood` as published.

    Labels are CamVid's; 12, the object, is `anomaly_labels`. `AnomalyFolder` reads the same
    folder without its classes.

    Raises:
        DataError: The split is not test, or folders or files are missing; on reading also for
            unreadable, mismatched or wrongly labelled files.
    """

    class_names = tuple(CLASSES)
    palette = tuple(CLASSES.values())
    anomaly_labels = (ANOMALY,)

    def __init__(self, root: Path, split: Split = 'test') -> None:
        if split != 'test':
            raise DataError(f'{split!r}: CamVid-OOD is for testing only, use test.')
        root = Path(root)
        for images, labels in _LAYOUTS:
            if (root / images).is_dir():
                files = pair_files(root / images, root / labels)
                break
        else:
            raise DataError(
                f'{root} has neither images/ nor test_ood/: unpack CamVid-OOD into it.'
            )
        table = _TABLE | {ANOMALY: ANOMALY, VOID: VOID}
        super().__init__(files, table, sequences=_sequences(files))


def _sequences(files: list[FilePair]) -> list[str]:
    """Return the sequence of every frame, with which its file name begins."""
    return [pair.image.stem.split('_')[0] for pair in files]
