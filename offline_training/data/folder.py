"""Folders of images with a mask of what is unknown in them, as the public benchmarks have."""

from __future__ import annotations

from pathlib import Path

from offline_training.data.base import (
    VOID,
    DataError,
    FilePair,
    LabelledFiles,
    files_by_stem,
    match_stems,
    pair_files,
)

# The first RoadAnomaly set marks anomalies with 2.
_MASK_VALUES = {0: 0, 1: 1, 2: 1, VOID: VOID}
_OFFICIAL_ENDING = '_labels_semantic'
_CAMVID_OOD_VALUES = dict.fromkeys(range(11), 0) | {11: VOID, 12: 1, VOID: VOID}


class AnomalyFolder(LabelledFiles):
    """`images/` with `labels_masks/` (0 normal, 1 or 2 anomaly, 255 ignore) or with `labels/`.

    The first is the layout of SegmentMeIfYouCan; where labels carry its ending `_labels_semantic`,
    its coloured copies are skipped, and so are its images without labels, whose labels the
    benchmark withholds (all but `validation*`). The second is the layout of CamVid-OOD: CamVid
    labels, 11 void (ignored), 12 the pasted object. Of both, a sample's labels are the mask: 1
    where something unknown is, 0 where not, 255 where neither is known.

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
            super().__init__(_segment_me_if_you_can(root / 'images', masks), _MASK_VALUES)
        elif (root / 'labels').is_dir():
            files = pair_files(root / 'images', root / 'labels')
            super().__init__(files, _CAMVID_OOD_VALUES)
        else:
            raise DataError(
                f'{root} has neither labels_masks/ (1 = anomaly) nor labels/ (12 = anomaly): '
                'add one beside images/.'
            )


def _segment_me_if_you_can(images: Path, masks: Path) -> list[FilePair]:
    if not any(masks.glob(f'*{_OFFICIAL_ENDING}.*')):
        return pair_files(images, masks)
    label_files = files_by_stem(masks, _OFFICIAL_ENDING, only_suffixed=True)
    image_files = {
        stem: path
        for stem, path in files_by_stem(images).items()
        if stem in label_files or stem.startswith('validation')
    }
    return match_stems(image_files, label_files, masks / f'*{_OFFICIAL_ENDING}.png')
