"""Unknown regions that persist: one that appears in a single frame is noise."""

from __future__ import annotations

from collections.abc import Iterator

from ros2_ood_monitor.detection import Region


class RegionStreaks:
    """Remembers, for each region, in which of the last `window` frames it was seen.

    A region is the same as an earlier one if their boxes overlap. It may be missing in between:
    an object that is seen in every second frame persists.

    >>> region = Region(x=0, y=0, width=9, height=9, area=81, peak=1.0, mean=0.9)
    >>> streaks = RegionStreaks()
    >>> for regions in ((region,), (), (region,)):
    ...     streaks.update(regions, window=3)
    >>> streaks.largest(frames=2) is region, streaks.largest(frames=3)
    (True, None)
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Region, tuple[bool, ...]]] = []

    def update(self, regions: tuple[Region, ...], window: int) -> None:
        """Take the regions of the next frame."""
        before = [
            (region, seen[-(window - 1) :] if window > 1 else ()) for region, seen in self._seen
        ]
        self._seen = [(region, (*_longest(region, before), True)) for region in regions]
        for region, seen in before:
            lost = not any(region.overlaps(other) for other in regions)
            if lost and any(seen):
                self._seen.append((region, (*seen, False)))

    def largest(self, frames: int) -> Region | None:
        """Return the largest region seen in at least `frames` of the frames, if any."""
        lasting = [region for region, seen in self._seen if sum(seen) >= frames]
        return max(lasting, key=lambda region: region.area, default=None)


def _longest(region: Region, before: list[tuple[Region, tuple[bool, ...]]]) -> tuple[bool, ...]:
    """Return the history with most sightings among earlier regions that overlap this one."""
    histories: Iterator[tuple[bool, ...]] = (
        seen for other, seen in before if region.overlaps(other)
    )
    return max(histories, key=sum, default=())
