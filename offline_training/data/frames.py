"""Labelled images as networks and detectors learn from them, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from offline_training.data.base import Samples, SegmentationSample
from ros2_ood_monitor.frame import UInt8Array


class Frames(Dataset[tuple[UInt8Array, UInt8Array]]):
    """Labelled images of normal driving, as networks and detectors learn from them.

    `frames[i]` decodes an image uint8 (H, W, 3) in model colour order and its labels uint8
    (H, W) with 255 = void; nothing is kept. For a classifier labels are arrays of shape ().

    Built from arrays that are in memory anyway, or with `of` from samples on disk.
    """

    def __init__(self, images: Sequence[UInt8Array], labels: Sequence[UInt8Array]) -> None:
        self._source: Samples = _Arrays(images, labels)
        self._chosen: Sequence[int] = range(len(images))

    @classmethod
    def of(cls, source: Samples) -> Frames:
        """Return the frames of samples of one size, decoded on demand."""
        frames = cls((), ())
        frames._source, frames._chosen = source, range(len(source))
        return frames

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Decode image and labels of frame `index`."""
        sample = self._source[self._chosen[index]]
        return sample.image, sample.labels

    def __iter__(self) -> Iterator[tuple[UInt8Array, UInt8Array]]:
        """Decode one frame after the other."""
        return (self[index] for index in range(len(self)))

    def subset(self, indices: Iterable[Any]) -> Frames:
        """Return some of the frames, decoded no sooner than these."""
        part = Frames.of(self._source)
        part._chosen = [self._chosen[int(index)] for index in indices]
        return part

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images uint8 (B, H, W, 3) and labels int64 (B, H, W), in order."""
        for start in range(0, len(self), size):
            pairs = [self[index] for index in range(start, min(start + size, len(self)))]
            images, labels = zip(*pairs, strict=True)
            yield (
                torch.from_numpy(np.stack(images)).to(device),
                torch.from_numpy(np.stack(labels)).long().to(device),
            )

    def name(self, index: int) -> str:
        """Return the name of a frame."""
        return self._fact('name', index)

    def sequence(self, index: int) -> str:
        """Return the sequence that a frame is of; '' if that is not known."""
        return self._fact('sequence', index)

    @property
    def images(self) -> Sequence[UInt8Array]:
        """The images alone, each decoded when it is asked for."""
        return _Column(self, 0)

    @property
    def labels(self) -> Sequence[UInt8Array]:
        """The labels alone; each is decoded with its image, so iterate over frames for both."""
        return _Column(self, 1)

    def _fact(self, fact: str, index: int) -> str:
        known = getattr(self._source, f'{fact}s', None)
        place = self._chosen[index]
        return str(getattr(self._source[place], fact) if known is None else known[place])


class _Arrays:
    """Images and labels that are in memory."""

    def __init__(self, images: Sequence[UInt8Array], labels: Sequence[UInt8Array]) -> None:
        if len(images) != len(labels):
            raise ValueError(f'{len(images)} images have {len(labels)} label maps; give one each')
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> SegmentationSample:
        return SegmentationSample(self._images[index], self._labels[index], f'{index:05d}')


class _Column(Sequence[UInt8Array]):
    """One half of every frame."""

    def __init__(self, frames: Frames, place: int) -> None:
        self._frames, self._place = frames, place

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            chosen = range(*index.indices(len(self)))
            return _Column(self._frames.subset(chosen), self._place)
        return self._frames[index][self._place]
