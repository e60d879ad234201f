"""Listen to a monitor as a robot should: silence is a FAULT too."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator

from ros2_ood_monitor.alert import Alert
from ros2_ood_monitor.bus.base import Middleware
from ros2_ood_monitor.messages.conversions import AlertFormatError, alerts_from_message
from ros2_ood_monitor.messages.topics import ALERT, Topic
from ros2_ood_monitor.messages.types import DiagnosticArray
from ros2_ood_monitor.supervision.throttle import Throttle

SILENCE_S = 0.5
"""After this long without a heartbeat a consumer must assume FAULT."""

_LOG = logging.getLogger(__name__)


def watch(
    middleware: Middleware,
    stop: threading.Event,
    topic: Topic = ALERT,
    silence_s: float = SILENCE_S,
) -> Iterator[Alert | None]:
    """Yield every alert on `topic` until `stop` is set, None once per silence of `silence_s`.

    None means that nobody says the view is safe: treat it as FAULT.
    """
    arrived: queue.SimpleQueue[Alert] = queue.SimpleQueue()
    unreadable = Throttle()

    def receive(message: DiagnosticArray) -> None:
        try:
            for alert in alerts_from_message(message):
                arrived.put(alert)
        except AlertFormatError as error:
            if unreadable.ready():
                _LOG.warning('%s', error)

    middleware.subscribe(topic, receive)
    try:
        heard_s = time.monotonic()
        silent = False
        while not stop.is_set():
            try:
                alert = arrived.get(timeout=_POLL_S)
            except queue.Empty:
                if not silent and time.monotonic() - heard_s > silence_s:
                    silent = True
                    yield None
                continue
            heard_s = time.monotonic()
            silent = False
            yield alert
    finally:
        middleware.unsubscribe(topic)


_POLL_S = 0.05
"""How soon `stop` and a silence are noticed."""
