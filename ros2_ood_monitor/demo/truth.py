"""What the camera really did and when, as opposed to what was scheduled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ros2_ood_monitor.demo.schedule import Event, EventKind, Schedule


@dataclass(frozen=True)
class Sent:
    """Frame number `frame` left the camera process at `steady_s`, seconds of the steady clock."""

    frame: int
    steady_s: float


@dataclass(frozen=True)
class Injected:
    """An event with the times at which it really began and ended; infinity if it still lasts."""

    event: Event
    start_s: float
    end_s: float


def injected(
    schedule: Schedule, sent: Sequence[Sent], killed: Mapping[Event, float]
) -> list[Injected]:
    """Return every event that has begun.

    An anomaly or a freeze begins with its first image; a death when the process was killed,
    which `killed` tells. Each ends with the first image after it.
    """

    def first(frame: int) -> float:
        return next((one.steady_s for one in sent if one.frame >= frame), math.inf)

    found = []
    for event in schedule.events:
        if event.kind is EventKind.DEATH:
            start_s = killed.get(event, math.inf)
        else:
            start_s = first(schedule.first_frame(event))
        if start_s < math.inf:
            found.append(Injected(event, start_s, first(schedule.end_frame(event))))
    return found
