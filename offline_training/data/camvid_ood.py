"""CamVid-OOD (Besnier et al. 2021): the CamVid test frames with one object pasted into each."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    VOID,
    DataError,
    SegmentationSample,
    Split,
    map_labels,
    pair_files,
    read_image,
    read_labels,
)
from offline_training.data.camvid import CLASSES

ANOMALY = 12

_LAYOUTS = (('images', 'labels'), ('test_ood', 'testannot_ood'))
_TABLE = {label: label for label in range(len(CLASSES))} | {
    len(CLASSES): VOID,
    ANOMALY: ANOMALY,
    VOID: VOID,
}


class CamVidOOD:
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
                self.files = pair_files(root / images, root / labels)
                break
        else:
            raise DataError(
                f'{root} has neither images/ nor test_ood/: unpack CamVid-OOD into it.'
            )
        self.names = tuple(pair.image.stem for pair in self.files)
        self.sequences = tuple(name.split('_')[0] for name in self.names)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read frame `index`; frames are in order of sequence and time."""
        pair = self.files[index]
        image = read_image(pair.image)
        labels = map_labels(read_labels(pair.labels, image), _TABLE, pair.labels)
        return SegmentationSample(image, labels, self.names[index], self.sequences[index])
