"""Folders of pictures with a mask of what is unknown in them, as the public benchmarks have."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    VOID,
    AnomalySample,
    DataError,
    map_labels,
    pair_files,
    read_image,
    read_labels,
)

_MASK_VALUES = {0: 0, 1: 1, VOID: VOID}
_CAMVID_OOD_VALUES = dict.fromkeys(range(11), 0) | {11: VOID, 12: 1, VOID: VOID}


class AnomalyFolder:
    """`images/` with `labels_masks/` (0 normal, 1 anomaly, 255 ignore) or with `labels/`.

    The first is the layout of SegmentMeIfYouCan (its ending `_labels_semantic` is understood),
    the second that of CamVid-OOD: CamVid labels, 11 void (ignored), 12 the pasted object.

    Raises:
        DataError: Folders or files are missing; on reading also for unreadable, mismatched or
            wrongly labelled files.
    """

    def __init__(self, root: Path) -> None:
        root = Path(root)
        if not root.is_dir():
            raise DataError(f'{root} is not a folder: check the data path.')
        masks = root / 'labels_masks'
        if masks.is_dir():
            self.files = pair_files(root / 'images', masks, '_labels_semantic')
            self._table = _MASK_VALUES
        elif (root / 'labels').is_dir():
            self.files = pair_files(root / 'images', root / 'labels')
            self._table = _CAMVID_OOD_VALUES
        else:
            raise DataError(
                f'{root} has neither labels_masks/ (1 = anomaly) nor labels/ (12 = anomaly): '
                'add one beside images/.'
            )
        self.names = tuple(pair.image.stem for pair in self.files)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> AnomalySample:
        """Read picture `index` in order of names."""
        pair = self.files[index]
        image = read_image(pair.image)
        mask = map_labels(read_labels(pair.labels, image), self._table, pair.labels)
        return AnomalySample(image, mask, self.names[index])
