"""Processes on DDS beside a test's own, and what they share with it.

They stand in a module that a spawned process can import by name.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ros2_ood_monitor.bus.dds import DdsMiddleware
from ros2_ood_monitor.frame import Header, RawImage, Stamp
from ros2_ood_monitor.messages.topics import ALERT, UNSAFE, camera_output

PATIENCE_S = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, 'waited in vain'
        time.sleep(0.005)


class Inbox:
    """Collects what a subscription delivers."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._arrived = threading.Condition()

    def __call__(self, message: Any) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify()

    def wait(self, count: int) -> list[Any]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.messages) >= count, PATIENCE_S), (
                f'{len(self.messages)} of {count} messages arrived'
            )
            return list(self.messages)


def image(number: int, width: int, height: int) -> RawImage:
    data = np.full(width * height * 3, number % 256, np.uint8)
    return RawImage(Header(Stamp(number, 5), 'cam'), height, width, 'rgb8', 0, width * 3, data)


def camera_process(domain: int, frames: int, rate_hz: float) -> None:
    """Stream 1280x720 frames with their number in stamp and pixels."""
    camera = DdsMiddleware('camera', 'front', domain)
    topic = camera_output('image_raw')
    camera.advertise(topic)
    wait_until(lambda: camera.subscriber_count(topic) > 0)
    begin = time.monotonic()
    for number in range(frames):
        camera.publish(topic, image(number, 1280, 720))
        time.sleep(max(0.0, begin + (number + 1) / rate_hz - time.monotonic()))
    camera.close()


def late_joiner_process(domain: int, results: Any) -> None:
    node = DdsMiddleware('late', '', domain)
    inbox = Inbox()
    node.subscribe(ALERT.under('front'), inbox)
    results.put(inbox.wait(1)[0])
    node.close()


def stuck_process(domain: int, ready: Any) -> None:
    node = DdsMiddleware('stuck', 'front', domain)
    node.subscribe(UNSAFE, lambda message: None)
    node.subscribe(camera_output('overlay'), lambda message: None)
    wait_until(lambda: node.publisher_count(UNSAFE) == 1)
    ready.set()
    while True:
        signal.pause()
