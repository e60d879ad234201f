"""Objects that the camera drives towards: how far away, and how late, they are seen."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from offline_training.data.base import DataError
from offline_training.measuring.perspective import Camera, paste, seen, trimmed
from offline_training.measuring.simulated_camera import SimulatedCamera
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.runner import Runner


@dataclass(frozen=True)
class Approach:
    """How an object is driven towards; lengths in metres, shares of the image."""

    focal: float | None = None
    """Focal length in pixels; None = the image's width, 53 degrees across."""
    camera_height: float = 1.5
    horizon: float = 0.5
    """Row of the horizon, as a share of the image's height."""
    speed: float = 5.0
    """Metres per second."""
    start: float = 25.0
    end: float = 3.0
    """Distance at which the approach ends."""
    height: float = 0.8
    """Of the object."""
    lateral: float = 1.0
    """The object stands up to this far to the left or right."""
    before: float = 1.0
    """Seconds of the drive without the object, before it is there."""

    def camera(self, image: UInt8Array) -> Camera:
        """Return the camera that took this image."""
        rows, columns = image.shape[:2]
        focal = float(columns) if self.focal is None else self.focal
        return Camera(focal, self.camera_height, self.horizon * rows, columns / 2)

    def frames(self, fps: float) -> tuple[int, int]:
        """Return how many frames come before the object, and how many show it.

        >>> Approach(start=25, end=5, speed=10, before=1).frames(10)
        (10, 21)
        """
        return round(self.before * fps), int((self.start - self.end) / self.speed * fps) + 1


@dataclass
class Event:
    """What the monitor published about one object."""

    object: int
    """Its number in the folder."""
    first_frame: int
    """Number of the drive's frame at which the object appears."""
    lateral: float
    false_alarm: str | None = None
    """The state before the object appeared, if it was not NOMINAL; such an event is not found."""
    distance: dict[str, float | None] = field(default_factory=dict)
    """At CAUTION (or worse) and at ALERT (or worse), in metres."""
    delay: dict[str, float | None] = field(default_factory=dict)
    """Since the object appeared, in seconds."""
    causes: tuple[str, ...] = ()


LEVELS = {'caution': State.CAUTION, 'alert': State.ALERT}


def event(
    runner: Runner,
    drive: Sequence[UInt8Array],
    cutout: UInt8Array,
    first: int,
    lateral: float,
    number: int,
    approach: Approach,
    fps: float,
) -> Event:
    """Drive towards one object that appears at frame `first` of the drive."""
    before, during = approach.frames(fps)
    result = Event(number, first, lateral)
    camera = SimulatedCamera(runner, fps)
    for index in range(first - before, first):
        state = camera.show(drive[index])
        if state != State.NOMINAL:
            result.false_alarm = state.name
            break
    cutout = trimmed(cutout)
    aspect = cutout.shape[1] / cutout.shape[0]
    passed: dict[State, int] = {}
    for step in range(0 if result.false_alarm else during):
        image = drive[first + step]
        distance = approach.start - step / fps * approach.speed
        box = seen(approach.camera(image), distance, approach.height, lateral, aspect)
        state = camera.show(paste(image, cutout, box)[0])
        for level in LEVELS.values():
            if state >= level:
                passed.setdefault(level, step)
        if state >= State.ALERT:
            break
    for name, level in LEVELS.items():
        delay = passed[level] / fps if level in passed else None
        result.delay[name] = delay
        result.distance[name] = None if delay is None else approach.start - delay * approach.speed
    result.causes = camera.raised.codes
    return result


def events(
    runner: Runner,
    drive: Sequence[UInt8Array],
    objects: Sequence[UInt8Array],
    count: int,
    approach: Approach,
    fps: float,
    seed: int,
    each: Callable[[], object] = lambda: None,
) -> list[Event]:
    """Drive towards `count` objects, drawn by `seed`, each at another place of the drive.

    `each` is called after every event.

    Raises:
        DataError: the drive is shorter than one approach.
    """
    before, during = approach.frames(fps)
    places = len(drive) - before - during
    if places < 0:
        raise DataError(
            f'the drive has {len(drive)} frames but an approach takes {before + during} at '
            f'{fps:g} per second: start nearer, drive faster or give a longer drive'
        )
    rng = np.random.default_rng((seed, 4099))
    # Different objects as long as there are any.
    order = [int(index) for _ in range(-(-count // len(objects)))
             for index in rng.permutation(len(objects))]  # fmt: skip
    found = []
    for number in order[:count]:
        first = before + int(rng.integers(places + 1))
        lateral = float(rng.uniform(-approach.lateral, approach.lateral))
        found.append(event(runner, drive, objects[number], first, lateral, number, approach, fps))
        each()
    return found


def alarms(
    runner: Runner,
    drive: Sequence[UInt8Array],
    fps: float,
    each: Callable[[], object] = lambda: None,
) -> list[float]:
    """Return when, in seconds, the state left NOMINAL in a drive without objects."""
    camera, before, found = SimulatedCamera(runner, fps), State.NOMINAL, []
    for index in range(len(drive)):
        state = camera.show(drive[index])
        if state != State.NOMINAL and before == State.NOMINAL:
            found.append(index / fps)
        before = state
        each()
    return found


def report(found: Sequence[Event], approach: Approach, fps: float, seed: int) -> dict[str, Any]:
    """Return what happened, with every assumption."""
    summary: dict[str, Any] = {}
    for name in LEVELS:
        distances = [when for each in found if (when := each.distance[name]) is not None]
        delays = [when for each in found if (when := each.delay[name]) is not None]
        summary[name] = {
            'found': len(distances),
            'of': len(found),
            'median_distance_m': statistics.median(distances) if distances else None,
            'median_delay_s': statistics.median(delays) if delays else None,
        }
    return {
        **summary,
        'false_alarms_before': sum(each.false_alarm is not None for each in found),
        'assumed': {**asdict(approach), 'frame_rate': fps, 'seed': seed},
        'events': [asdict(each) for each in found],
        'protocol': 'objects are found at CAUTION or worse, and at ALERT or worse; one before '
        'which the state was not NOMINAL is not found; medians are over those found',
    }
