"""How many unknown objects the published regions find, how well, and how many regions are false.

An object is a connected part of the truth (8 neighbours; parts closer to each other than 1 % of
the image's width are one, as an object behind a pole is). A region is what the robot publishes: a
box, and inside it the pixels that reached the threshold. Regions that mostly cover ignored pixels
and touch no object count neither way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.data.base import VOID
from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.frame import UInt8Array

SIZES = {'< 2 %': (0.0, 0.02), '2-4.5 %': (0.02, 0.045), '> 4.5 %': (0.045, 1.01)}
"""Classes of objects by their share of the image, from and below."""
COVERED = (0.25, 0.5)
"""Shares of an object's pixels that count as more than a touch."""
JOINED = 0.01
"""Parts of the truth closer than this share of the image's width are one object."""
SMALLEST = 10
"""Objects of fewer pixels are specks of a mask and count neither way."""


@dataclass(frozen=True)
class FoundObject:
    """What the regions of one frame show of one object; all values are shares, 0 to 1."""

    size: float
    """Of the image's pixels."""
    covered: float
    """Of the object's pixels, by pixels of regions; above 0 it is touched."""
    boxed: float
    """Of the object's pixels, by the box of the region that touches it and covers most of it."""


def objects(mask: UInt8Array) -> list[NDArray[np.bool_]]:
    """Return the objects of a mask uint8 (H, W), 1 = unknown, as masks of their own."""
    unknown = (mask == 1).astype(np.uint8)
    reach = 2 * math.ceil(JOINED * mask.shape[1] / 2) + 1
    joined = cv2.dilate(unknown, np.ones((reach, reach), np.uint8))
    count, numbers = cv2.connectedComponents(joined, connectivity=8)
    parts = [(np.asarray(numbers) == number) & (unknown > 0) for number in range(1, count)]
    return [part for part in parts if np.count_nonzero(part) >= SMALLEST]


def region_masks(reached: NDArray[np.bool_], regions: Sequence[Region]) -> list[NDArray[np.bool_]]:
    """Return for each region its pixels: those of `reached` (H, W) inside its box."""
    return [_inside(reached.shape, region) & reached for region in regions]


class ObjectRecall:
    """Counts over the frames of a set, for one operating point."""

    def __init__(self) -> None:
        self.found: list[FoundObject] = []
        self.frames = 0
        self.false_regions = 0

    def update(
        self, mask: UInt8Array, reached: NDArray[np.bool_], regions: Sequence[Region]
    ) -> None:
        """Add one frame: its truth, the pixels that reached the threshold, and the regions.

        `mask` is uint8 (H, W) of 0, 1 (unknown) and 255 (ignored); `reached` is (H, W), and the
        regions are in pixels of the same image.

        Raises:
            ValueError: the shapes differ.
        """
        if mask.shape != reached.shape:
            raise ValueError(f'mask {mask.shape} and map {reached.shape} must be of one size')
        pixels = region_masks(reached, regions)
        together = np.logical_or.reduce([np.zeros(mask.shape, bool), *pixels])
        self.frames += 1
        for item in objects(mask):
            area = np.count_nonzero(item)
            boxes = [
                np.count_nonzero(_inside(mask.shape, region) & item) / area
                for region, own in zip(regions, pixels, strict=True)
                if (own & item).any()
            ]
            self.found.append(
                FoundObject(
                    area / mask.size,
                    np.count_nonzero(together & item) / area,
                    max(boxes, default=0.0),
                )
            )
        for own in pixels:
            ignored = np.count_nonzero(own & (mask == VOID))
            if not (own & (mask == 1)).any() and 2 * ignored <= np.count_nonzero(own):
                self.false_regions += 1

    def report(self) -> dict[str, object]:
        """Return per cent of the objects touched and covered, by size, and false regions."""
        return {
            'all': _recall(self.found),
            'by_size': {
                name: _recall([each for each in self.found if low <= each.size < high])
                for name, (low, high) in SIZES.items()
            },
            'false_regions_per_frame': self.false_regions / max(1, self.frames),
        }


def _recall(found: Sequence[FoundObject]) -> dict[str, float | int | None]:
    """Return the figures of some objects; None where there is none to speak of."""
    touched = [each for each in found if each.covered > 0]
    return {
        'objects': len(found),
        'touched': _percent([each.covered > 0 for each in found]),
        **{
            f'covered_{round(100 * share)}': _percent([each.covered >= share for each in found])
            for share in COVERED
        },
        'boxed_half_of_touched': _percent([each.boxed >= 0.5 for each in touched]),
    }


def _percent(flags: Sequence[bool]) -> float | None:
    return 100 * sum(flags) / len(flags) if flags else None


def _inside(size: tuple[int, ...], region: Region) -> NDArray[np.bool_]:
    inside = np.zeros(size, bool)
    top, left = max(0, round(region.y)), max(0, round(region.x))
    bottom, right = round(region.y + region.height), round(region.x + region.width)
    inside[top:bottom, left:right] = True
    return inside
