"""Be a camera: send a source's images on a topic, each at its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ros2_ood_monitor.bus.base import Middleware
from ros2_ood_monitor.frame import RawCompressedImage, RawImage, Stamp
from ros2_ood_monitor.messages.topics import Topic, camera_output
from ros2_ood_monitor.recordings.sources import DEFAULT_FPS, Source

_LATE_S = 0.05


def play(
    source: Source,
    middleware: Middleware,
    topic: str,
    stop: threading.Event,
    rate_hz: float | None = None,
    loop: bool = False,
    sent: Callable[[int], None] = lambda count: None,
) -> int:
    """Send images until the source ends, or `stop` with `loop`; return how many.

    `rate_hz` None follows the distances of the source's stamps. Sent images are stamped with the
    system clock, as a camera would. Compressed images go to `topic`/compressed. `sent` is told
    the count after each.
    """
    count = 0
    due_s = time.monotonic()
    advertised: set[Topic] = set()
    while True:
        before = count
        last_ns: int | None = None
        for image in source:
            stamp_ns = image.header.stamp.to_ns()
            if rate_hz or last_ns is None:
                gap_s = 1 / (rate_hz or DEFAULT_FPS)
            else:
                gap_s = max(0.0, (stamp_ns - last_ns) / 1e9)
            last_ns = stamp_ns
            # A source that is too slow sends late, it does not send a burst afterwards.
            due_s = max(due_s + gap_s, time.monotonic() - _LATE_S)
            if stop.wait(max(0.0, due_s - time.monotonic())):
                return count
            output = _output(topic, image)
            if output not in advertised:
                middleware.advertise(output)
                advertised.add(output)
            header = replace(image.header, stamp=Stamp.from_ns(time.time_ns()))
            middleware.publish(output, replace(image, header=header))
            count += 1
            sent(count)
        if not loop or count == before:
            return count


def _output(topic: str, image: RawImage | RawCompressedImage) -> Topic:
    compressed = isinstance(image, RawCompressedImage)
    return camera_output(f'{topic}/compressed' if compressed else topic, compressed)
