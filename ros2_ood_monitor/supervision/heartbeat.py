"""The heartbeat: one camera's alerts, at their rate and at once when the state changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ros2_ood_monitor.alert import Alert
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Frame, Header
from ros2_ood_monitor.supervision.state_machine import Supervisor
from ros2_ood_monitor.supervision.throttle import Throttle

WATCH_S = 0.02
"""How often the watchdogs are looked at between heartbeats."""

EARLY = 0.9
"""Share of the period after which the heartbeat beats: "at least" must survive a late thread."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MonitorOutput:
    """An alert (`frame` and `detection` None), or the result of a frame.

    Every alert is published exactly once, in the order of `seq`, as an output without a detection.
    The `alert` beside a detection is the one that frame caused, already published.
    """

    alert: Alert
    frame: Frame | None = None
    detection: Detection | None = None

    @property
    def header(self) -> Header | None:
        """The header of the camera's image, unchanged."""
        return self.frame.header if self.frame else None


class Heartbeat:
    """Publishes what a supervisor knows, on a thread of its own and on those that call.

    `publish` is called with one alert at a time; results go past that order.
    """

    def __init__(self, supervisor: Supervisor, publish: Callable[[MonitorOutput], None]) -> None:
        self.supervisor = supervisor
        self._publish = publish
        self._publishing = threading.Lock()
        self._published: object = None
        self._throttle = Throttle()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name='heartbeat', daemon=True)

    def start(self) -> None:
        """Publish the first alert, and from now on the heartbeat."""
        self.emit()
        self._thread.start()

    def stop(self) -> None:
        """End the heartbeat with a last alert."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.emit()

    def emit(self) -> Alert:
        """Publish the next alert and return it."""
        with self._publishing:
            alert = self.supervisor.tick()
            self._published = (alert.state, [cause.code for cause in alert.causes])
            self.deliver(MonitorOutput(alert))
        return alert

    def emit_change(self) -> None:
        """Publish an alert if state or causes are others than in the last one."""
        state, causes = self.supervisor.decision()
        if (state, [cause.code for cause in causes]) != self._published:
            self.emit()

    def deliver(self, output: MonitorOutput) -> None:
        """Publish `output`; a failure is logged."""
        try:
            self._publish(output)
        except Exception:
            # The next heartbeat tries again; consumers treat the silence between as FAULT.
            if self._throttle.ready():
                _log.exception('publishing failed')

    def _beat(self) -> None:
        clock = self.supervisor.clock
        period_ns = round(EARLY * 1e9 / self.supervisor.config.heartbeat_hz)
        # Waiting uses real time; which beats are due is the clock's business.
        due_ns = clock.now_ns() + period_ns
        while not self._stopping.wait(WATCH_S):
            now_ns = clock.now_ns()
            if now_ns + WATCH_S * 5e8 >= due_ns:
                due_ns = max(due_ns, now_ns - period_ns) + period_ns
                self.emit()
            else:
                self.emit_change()
