"""Hearing alerts, and hearing that nobody speaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ros2_ood_monitor.alert import Alert, State
from ros2_ood_monitor.frame import Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import alert_message
from ros2_ood_monitor.messages.types import DiagnosticArray, DiagnosticStatus
from ros2_ood_monitor.node.watcher import watch

ALERT = Alert('front', State.NOMINAL, (), 0.1, 0.0, 8.0, 0, 5.0)


class Bus:
    """Delivers what the test sends to the watcher's callback."""

    def __init__(self) -> None:
        self.callback: Callable[[Any], None] | None = None

    def subscribe(self, topic: topics.Topic, callback: Callable[[Any], None]) -> None:
        assert topic == topics.ALERT
        self.callback = callback

    def unsubscribe(self, topic: topics.Topic) -> None:
        self.callback = None


def test_alerts_silence_and_return_are_told_in_order(caplog):
    bus, stop = Bus(), threading.Event()
    heard = watch(bus, stop, silence_s=0.1)
    assert next(heard) is None  # nobody spoke at all
    for number in range(3):
        bus.callback(alert_message(replace(ALERT, seq=number), Stamp(1)))
    assert [next(heard).seq for _ in range(3)] == [0, 1, 2]
    assert next(heard) is None
    foreign = DiagnosticArray(ALERT.source, (DiagnosticStatus(0, 'else', '', '', ()),))
    bus.callback(foreign)
    bus.callback(alert_message(replace(ALERT, seq=9), Stamp(1)))
    assert next(heard).seq == 9
    assert 'else' in caplog.text
    stop.set()
    assert list(heard) == []
    assert bus.callback is None


def test_a_silence_is_told_once():
    bus, stop = Bus(), threading.Event()
    heard = watch(bus, stop, silence_s=0.05)
    assert next(heard) is None
    threading.Timer(0.4, stop.set).start()
    assert list(heard) == []
