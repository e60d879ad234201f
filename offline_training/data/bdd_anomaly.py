"""BDD-Anomaly (Hendrycks et al. 2022, CAOS benchmark): BDD100K without two-wheelers and trains.

The split is not published as files. `python -m offline_training.data.bdd_anomaly ROOT` makes it
from the labels: images with a train, motorcycle or bicycle are the test split, which gives the
6,280 training, 910 validation and 810 test images of the published split. (Its first version
held out trains and motorcycles only: 6,688, 951 and 361.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offline_training.data.base import (
    VOID,
    DataError,
    FilePair,
    LabelledFiles,
    Split,
    map_labels,
    read_labels,
    require_split,
)
from offline_training.data.bdd import labelled_files
from offline_training.data.cityscapes import CLASSES, TRAIN_IDS
from offline_training.data.odgt import read_odgt
from offline_training.learning.command_line import exit_status
from offline_training.learning.store import write_json

UNKNOWN = {'train': 16, 'motorcycle': 17, 'bicycle': 18}
"""Label of the classes that training never sees."""

_LISTS = {
    'train': ('train.odgt',),
    'val': ('validation.odgt',),
    'test': ('anom.odgt', 'test.odgt'),  # the benchmark's name and that of its users
}
# What the benchmark's own copy of the labels, seg/train_labels, holds: train id plus 2, void 1.
_SHIFTED_FOLDER = 'train_labels'
_SHIFTED = {train_id + 2: train_id for train_id in range(len(CLASSES))} | {1: VOID}


class BDDAnomaly(LabelledFiles):
    """One split: what `root/{train,validation,anom}.odgt` list, which `write_split` writes.

    Labels are the train ids of BDD100K, 255 void; 16 to 18, in the test split only, are
    `anomaly_labels`. Labels in a folder `train_labels` are read in the shifted numbers in which
    the benchmark ships them. (The benchmark counts void pixels as normal; here they are void.)

    Raises:
        DataError: The split is unknown, or a list or a file that it names is missing; on reading
            also for unreadable, mismatched or wrongly labelled files, an unknown in a training
            image among them.
    """

    class_names = tuple(name for name in CLASSES if name not in UNKNOWN)
    palette = tuple(color for name, color in CLASSES.items() if name not in UNKNOWN)
    anomaly_labels = tuple(UNKNOWN.values())
    # Labels belong to the pixels as stored.
    turn_upright = False

    def __init__(self, root: Path, split: Split) -> None:
        require_split(split, tuple(_LISTS), 'BDD-Anomaly')
        root = Path(root)
        found = [root / name for name in _LISTS[split] if (root / name).is_file()]
        if not found:
            raise DataError(
                f'{root / _LISTS[split][0]} is missing: write the split with '
                f'"python -m offline_training.data.bdd_anomaly {root}".'
            )
        super().__init__(read_odgt(found[0]), TRAIN_IDS)
        self._refused = () if split == 'test' else self.anomaly_labels

    def table_of(self, pair: FilePair) -> dict[int, int]:
        """Return the table of the folder; only the test split may show unknowns."""
        table = _table(pair).items()
        return {value: label for value, label in table if label not in self._refused}


def write_split(root: Path) -> dict[str, int]:
    """Write the three odgt files from the labels of BDD100K in `root`; return their lengths.

    Reads every label file once, which takes minutes.

    Raises:
        DataError: The images or labels are missing, unreadable or wrongly labelled, or one of
            the three splits would be empty.
    """
    root = Path(root)
    chosen: dict[str, list[FilePair]] = {name: [] for name in ('train', 'validation', 'anom')}
    for part, name in (('train', 'train'), ('val', 'validation')):
        for pair in labelled_files(root, part):
            labels = map_labels(read_labels(pair.labels), _table(pair), pair.labels)
            unknown = np.isin(labels, list(UNKNOWN.values())).any()
            chosen['anom' if unknown else name].append(pair)
    for name, pairs in chosen.items():
        if not pairs:
            raise DataError(f'{root} has no image for {name}.odgt: unpack the whole data set.')
    for name, pairs in chosen.items():
        entries = [
            {
                'dbName': 'BDD100k',
                'fpath_img': pair.image.relative_to(root).as_posix(),
                'fpath_segm': pair.labels.relative_to(root).as_posix(),
            }
            for pair in pairs
        ]
        write_json(root / f'{name}.odgt', entries)
    return {name: len(pairs) for name, pairs in chosen.items()}


def _table(pair: FilePair) -> dict[int, int]:
    return _SHIFTED if _SHIFTED_FOLDER in pair.labels.parts else TRAIN_IDS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.data.bdd_anomaly', description=__doc__
    )
    parser.add_argument('root', type=Path, help='folder of BDD100K')
    root = parser.parse_args(argv).root

    def report() -> None:
        for name, count in write_split(root).items():
            sys.stdout.write(f'{name}.odgt: {count} images\n')

    return exit_status(report)


if __name__ == '__main__':
    sys.exit(main())
