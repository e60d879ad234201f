"""A named sequence of images that detectors score, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from offline_training.data.base import SegmentationSample, labels_at_size
from offline_training.data.frames import Frames
from ros2_ood_monitor.frame import UInt8Array

Group = Literal['normal', 'objects', 'natural', 'attack']
PixelTruth = Literal['labels', 'unknown']


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One image uint8 (H, W, 3) of network size and colour order, and what is known of it."""

    name: str
    image: UInt8Array
    labels: UInt8Array | None = None
    """Class per pixel at the image's own size; 255 where void or unknown."""
    unknown: UInt8Array | None = None
    """1 where something unknown is, 0 where not, 255 where neither is known; as `labels`."""
    psnr: float | None = None
    """Likeness to the image that was perturbed or attacked, in dB."""


@dataclass(frozen=True, eq=False)
class Source:
    """A named sequence of frames."""

    name: str
    group: Group
    count: int
    read: Callable[[int], SourceFrame]
    properties: Mapping[str, Any]
    """What it is made from, as plain values: stored results of others are not its own."""
    truth: tuple[PixelTruth, ...] = ()
    """What every pixel is measured by; without any, only frames are scored."""
    every: int = 0
    """Frame i shows the scene of normal frame i * every; 0 = other scenes."""

    def frames(self) -> Frames:
        """Return the frames with labels at network size, decoded on demand."""
        return Frames.of(self)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SegmentationSample:
        """Read a frame whose labels are known, both at network size."""
        frame = self.read(index)
        assert frame.labels is not None
        labels = labels_at_size(frame.labels, frame.image.shape[:2])
        return SegmentationSample(frame.image, labels, frame.name)
