"""A data set as the network sees it: its size, its colour order, optionally kept on disk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline_training.data.base import SegmentationDataset, SegmentationSample, labels_at_size
from offline_training.learning.store import write_bytes
from ros2_ood_monitor.inference.preprocessing import prepare


@dataclass(frozen=True, eq=False)
class AtNetworkSize:
    """Samples of `dataset` resized as the runtime does, labels by the nearest pixel.

    With `cache` every decoded sample is kept in this folder, one file each. Its name is a hash of
    all it is made from, so files of other contents, sizes or labels are never read.
    """

    dataset: SegmentationDataset
    width: int
    height: int
    color_order: str
    cache: Path | None = None

    @property
    def names(self) -> Sequence[str] | None:
        """Names of all samples, where the data set has them without decoding."""
        return getattr(self.dataset, 'names', None)

    @property
    def sequences(self) -> Sequence[str] | None:
        """Sequences of all samples, where the data set has them without decoding."""
        return getattr(self.dataset, 'sequences', None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> SegmentationSample:
        if self.cache is None:
            return self._decoded(index)
        path = self.cache / f'{self._key(index)}.npy'
        planes = _read(path, (self.height, self.width, 4))
        if planes is None:
            sample = self._decoded(index)
            data = io.BytesIO()
            np.save(data, np.dstack([sample.image, sample.labels]))
            write_bytes(path, data.getvalue())
            return sample
        image, labels = np.ascontiguousarray(planes[..., :3]), np.ascontiguousarray(planes[..., 3])
        name = self.names[index] if self.names else f'{index:05d}'
        return SegmentationSample(
            image, labels, name, self.sequences[index] if self.sequences else ''
        )

    def _decoded(self, index: int) -> SegmentationSample:
        sample = self.dataset[index]
        image = prepare(sample.image, self.width, self.height, self.color_order)[0]
        labels = np.ascontiguousarray(labels_at_size(sample.labels, (self.height, self.width)))
        return SegmentationSample(image, labels, sample.name, sample.sequence)

    def _key(self, index: int) -> str:
        files = getattr(self.dataset, 'files', None)
        made_from = (
            type(self.dataset).__name__,
            tuple(self.dataset.class_names),
            getattr(self.dataset, 'table', None),
            (self.width, self.height, self.color_order),
            # Painted scenes have no files, but an index and what they are painted from.
            None if files else (index, getattr(self.dataset, 'painted_from', None)),
        )
        digest = hashlib.sha256(repr(made_from).encode())
        if files:
            digest.update(files[index].image.read_bytes())
            digest.update(files[index].labels.read_bytes())
        return digest.hexdigest()


def _read(path: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Read a stored sample; None where it is missing or damaged."""
    try:
        planes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return planes if planes.shape == shape and planes.dtype == np.uint8 else None
