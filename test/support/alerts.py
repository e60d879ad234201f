"""A monitor that says what a test wants, ten times a second, over DDS."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import TracebackType

from ros2_ood_monitor.alert import Alert, Cause, State
from ros2_ood_monitor.bus.dds import DdsMiddleware
from ros2_ood_monitor.frame import Stamp
from ros2_ood_monitor.messages.conversions import alert_message
from ros2_ood_monitor.messages.topics import ALERT

SAFE = Alert('front', State.NOMINAL, (), 0.1, 0.0, 8.0, 0, 5.0)
UNSAFE = replace(
    SAFE, state=State.ALERT, causes=(Cause(State.ALERT, 'unknown_view', 'an unknown view'),)
)


class SpokenAlerts:
    """Publishes `alert` until it is set to None, and then nothing."""

    def __init__(self, domain_id: int, alert: Alert | None = SAFE) -> None:
        self.alert = alert
        self._bus = DdsMiddleware('monitor', 'front', domain_id)
        self._bus.advertise(ALERT)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._speak)

    def __enter__(self) -> SpokenAlerts:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        self._bus.close()

    def _speak(self) -> None:
        seq = 0
        while not self._end.wait(0.1):
            alert = self.alert
            if alert is not None:
                self._bus.publish(ALERT, alert_message(replace(alert, seq=seq), Stamp(1)))
                seq += 1
