"""CamVid (Brostow, Fauqueur, Cipolla 2009) in the SegNet split, 480x360, 11 classes and void."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    VOID,
    SegmentationSample,
    Split,
    map_labels,
    pair_files,
    read_image,
    read_labels,
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

_FILE_VOID = 11


class CamVid:
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
        root = Path(root)
        self.files = pair_files(root / split, root / f'{split}annot')
        self.names = tuple(pair.image.stem for pair in self.files)
        self.sequences = tuple(name.split('_')[0] for name in self.names)
        self._table = {label: label for label in range(len(CLASSES))} | {_FILE_VOID: VOID}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read frame `index`; frames are in order of sequence and time."""
        pair = self.files[index]
        image = read_image(pair.image)
        labels = map_labels(read_labels(pair.labels, image), self._table, pair.labels)
        return SegmentationSample(image, labels, self.names[index], self.sequences[index])
