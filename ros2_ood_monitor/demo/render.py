"""Draw the demo camera's images ahead of time, so that its process only has to send them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ros2_ood_monitor.demo.schedule import EventKind, Schedule
from ros2_ood_monitor.scenes import AnomalyEvent, SceneGenerator, ViewEvent

CLIP = 0
COVER = 0.08
"""Share of the image an anomaly covers when it appears on the road, six metres ahead."""


def render(schedule: Schedule, path: Path) -> Iterator[int]:
    """Write uint8 RGB (frames, H, W, 3) to the .npy file `path`; yields the count drawn so far."""
    events = [
        AnomalyEvent(event.start_s, event.duration_s, event.subject, COVER)
        for event in schedule.events
        if event.kind is EventKind.ANOMALY
    ]
    views = [
        ViewEvent(event.start_s, event.duration_s, str(event.subject))
        for event in schedule.events
        if event.kind is EventKind.VIEW
    ]
    shape = (schedule.frames, schedule.height, schedule.width, 3)
    images = np.lib.format.open_memmap(path, mode='w+', dtype=np.uint8, shape=shape)
    generator = SceneGenerator(schedule.seed, schedule.width, schedule.height)
    clip = generator.clip(CLIP, schedule.frames, schedule.fps, events, views)
    for index, frame in enumerate(clip):
        images[index] = frame.image
        yield index + 1
    images.flush()
