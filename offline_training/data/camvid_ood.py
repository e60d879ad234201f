"""CamVid-OOD (Besnier et al. 2021): the CamVid test frames with one object pasted into each."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import VOID, DataError, LabelledFiles, Split, pair_files
from offline_training.data.camvid import CLASSES, TABLE, sequences

ANOMALY = 12

_LAYOUTS = (('images', 'labels'), ('test_ood', 'testannot_ood'))


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
        table = TABLE | {ANOMALY: ANOMALY, VOID: VOID}
        super().__init__(files, table, sequences=sequences(files))
