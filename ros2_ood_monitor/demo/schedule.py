"""What the demo camera does and when; fixed before the demo starts and known to both sides."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from ros2_ood_monitor.bundle.store import replace_file


class EventKind(Enum):
    """What goes wrong in front of, or inside, the camera."""

    ANOMALY = 'anomaly'
    VIEW = 'view'
    FREEZE = 'freeze'
    DEATH = 'death'


@dataclass(frozen=True)
class Event:
    """Something injected, in seconds after the camera's first image.

    `what` is for the table; `subject` names the anomaly or view for the scene generator.
    """

    kind: EventKind
    what: str
    start_s: float
    duration_s: float
    subject: str | None = None

    @property
    def end_s(self) -> float:
        """When the event is over."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Schedule:
    """One run of the demo camera."""

    seed: int
    width: int
    height: int
    fps: float
    duration_s: float
    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        previous = 0.0
        for event in self.events:
            if event.start_s <= previous or event.duration_s <= 0 or event.end_s > self.duration_s:
                raise ValueError(
                    f'event "{event.what}" at {event.start_s} s overlaps the one before, is empty '
                    f'or ends after {self.duration_s} s; change its start_s or duration_s'
                )
            previous = event.end_s

    @property
    def frames(self) -> int:
        """Number of images."""
        return round(self.duration_s * self.fps)

    def first_frame(self, event: Event) -> int:
        """Return the first frame that the event touches."""
        return math.ceil(event.start_s * self.fps - 1e-6)

    def end_frame(self, event: Event) -> int:
        """Return the first frame after the event."""
        return math.ceil(event.end_s * self.fps - 1e-6)

    def image(self, frame: int) -> int:
        """Return which image is sent as `frame`: during a freeze, the one before it began."""
        for event in self.events:
            if event.kind is EventKind.FREEZE:
                first = self.first_frame(event)
                if first <= frame < self.end_frame(event):
                    return first - 1
        return frame

    def resume(self, frame: int) -> int:
        """Return the first frame that a camera started at `frame` sends: none while it is dead."""
        for event in self.events:
            dead = self.first_frame(event) <= frame < self.end_frame(event)
            if event.kind is EventKind.DEATH and dead:
                return self.end_frame(event)
        return frame

    def save(self, path: Path) -> None:
        """Write as JSON."""
        text = json.dumps(asdict(self), indent=1, default=lambda value: value.value) + '\n'
        replace_file(path, lambda part: part.write_text(text, encoding='utf-8'))

    @staticmethod
    def load(path: Path) -> Schedule:
        """Read what `save` wrote."""
        data = json.loads(path.read_text(encoding='utf-8'))
        events = tuple(
            Event(**{**event, 'kind': EventKind(event['kind'])}) for event in data.pop('events')
        )
        return Schedule(**data, events=events)


DEMO = Schedule(
    seed=1002,
    width=256,
    height=192,
    fps=15.0,
    duration_s=70.0,
    events=(
        Event(EventKind.ANOMALY, 'a painted crate on the road', 8.0, 3.0, 'crate'),
        Event(EventKind.FREEZE, 'the camera freezes', 16.0, 2.0),
        Event(EventKind.ANOMALY, 'a ball of fur', 23.0, 3.0, 'fur'),
        Event(EventKind.DEATH, 'the camera process dies', 31.0, 4.0),
        Event(EventKind.ANOMALY, 'a striped toy dog', 43.0, 3.0, 'dog'),
        Event(EventKind.VIEW, 'dense fog', 51.0, 4.0, 'fog'),
        Event(EventKind.VIEW, 'a warehouse, another world', 61.0, 4.0, 'warehouse'),
    ),
)
"""What `make demo` shows: quiet before, between and after, so that false alarms have a chance."""
