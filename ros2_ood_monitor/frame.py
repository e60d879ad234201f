"""What a camera delivers: a raw image as it was on the wire, and a checked RGB frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Stamp:
    """ROS time: seconds and nanoseconds since the epoch; (0, 0) means the camera set none."""

    sec: int = 0
    nanosec: int = 0

    def to_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return self.sec * 1_000_000_000 + self.nanosec

    @staticmethod
    def from_ns(ns: int) -> Stamp:
        """Split nanoseconds since the epoch.

        >>> Stamp.from_ns(1_500_000_000)
        Stamp(sec=1, nanosec=500000000)
        """
        return Stamp(*divmod(ns, 1_000_000_000))


@dataclass(frozen=True)
class Header:
    """std_msgs/Header; travels unchanged from the camera to every result."""

    stamp: Stamp = Stamp()
    frame_id: str = ''


@dataclass(frozen=True, eq=False)
class RawImage:
    """sensor_msgs/Image exactly as received, nothing checked yet.

    `data` is a flat uint8 view; rows are `step` bytes apart and may be padded.
    """

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: UInt8Array


@dataclass(frozen=True, eq=False)
class RawCompressedImage:
    """sensor_msgs/CompressedImage exactly as received."""

    header: Header
    format: str
    data: UInt8Array


@dataclass(frozen=True, eq=False)
class Frame:
    """A checked camera frame: `image` is uint8 RGB (H, W, 3), C-contiguous."""

    image: UInt8Array
    header: Header = Header()
    received_ns: int = 0
    """Steady-clock time of arrival in nanoseconds."""
