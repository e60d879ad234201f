"""Unknown regions that persist: one that appears in a single frame is noise."""

from __future__ import annotations

from ros2_ood_monitor.detection import Region


class RegionStreaks:
    """Counts for how many frames in a row each region has overlapped one of the frame before."""

    def __init__(self) -> None:
        self._streaks: list[tuple[Region, int]] = []

    def update(self, regions: tuple[Region, ...]) -> None:
        """Take the regions of the next frame."""
        self._streaks = [
            (
                region,
                1 + max((n for old, n in self._streaks if _overlap(region, old)), default=0),
            )
            for region in regions
        ]

    def longest(self, frames: int) -> Region | None:
        """Return the largest region seen in at least `frames` frames in a row, if any."""
        lasting = [region for region, streak in self._streaks if streak >= frames]
        return max(lasting, key=lambda region: region.area, default=None)


def _overlap(first: Region, second: Region) -> bool:
    return (
        first.x < second.x + second.width
        and second.x < first.x + first.width
        and first.y < second.y + second.height
        and second.y < first.y + first.height
    )
