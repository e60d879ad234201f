"""What a data set is made of, as a fingerprint."""

from __future__ import annotations

import os
from pathlib import Path

from offline_training.data.base import FilePair, LabelledFiles, SegmentationDataset
from ros2_ood_monitor.bundle.store import fingerprint


def data_identity(dataset: SegmentationDataset | LabelledFiles, folder: Path) -> str:
    """Return a fingerprint of images, labels and class lists: names, sizes, modification times.

    Contents are not read, which would take minutes for a large set. `folder` is the root of the
    set; where it lies makes no difference.
    """
    pairs: list[FilePair] = getattr(dataset, 'files', [])  # rendered scenes have none
    paths = {path for pair in pairs for path in (pair.image, pair.labels)}
    states = {
        os.path.relpath(path, folder): (each.st_size, each.st_mtime_ns)
        for path in [*paths, *folder.glob('*.yaml')]
        for each in [path.stat()]
    }
    return fingerprint(states)
