"""One camera end to end: images in from any thread, alerts and results out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ros2_ood_monitor.frame import RawCompressedImage, RawImage
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.supervision.clock import Clock, SteadyClock, SystemClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.engine_worker import EngineWorker
from ros2_ood_monitor.supervision.heartbeat import Heartbeat, MonitorOutput
from ros2_ood_monitor.supervision.mailbox import Mailbox
from ros2_ood_monitor.supervision.scoring import Arrival
from ros2_ood_monitor.supervision.state_machine import Supervisor
from ros2_ood_monitor.supervision.statistics import Statistics, StatisticsWindow

STOP_TIMEOUT_S = 2.0
"""How long an engine call may take to end when the monitor is stopped."""

_log = logging.getLogger(__name__)


class MonitorError(RuntimeError):
    """The monitor cannot do what was asked."""


class Monitor:
    """Watches one camera.

    `publish` is called with alerts from the moment of `start` until `stop`, at least at the
    heartbeat rate and at once when the state changes, on several threads but one alert at a time.
    Results follow outside that order on the engines' thread, so that a slow image never delays
    an alert. `open_runner` is called on that thread too, again after every failure. Limits and
    delays change with `supervisor.configure`.
    """

    def __init__(
        self,
        camera: str,
        open_runner: Callable[[], Runner],
        config: SupervisionConfig,
        publish: Callable[[MonitorOutput], None],
        clock: Clock | None = None,
        stamp_clock: Clock | None = None,
    ) -> None:
        self.supervisor = Supervisor(camera, config, clock or SteadyClock())
        self._open_runner = open_runner
        self._stamp_clock = stamp_clock or SystemClock()
        self._heartbeat = Heartbeat(self.supervisor, publish)
        self._statistics = StatisticsWindow(self.supervisor.clock)
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._dropped_before = 0
        self._worker: EngineWorker | None = None
        self._stopped = False

    def start(self, active: bool = True) -> None:
        """Publish the first alert and the heartbeat from now on; with `active`, also score."""
        self._heartbeat.start()
        if active:
            self.activate()

    def activate(self) -> None:
        """Load the engines and score images; MonitorError if the last engine call still hangs."""
        if self._worker is not None:
            if self._worker.alive:
                raise MonitorError('the engines still run; deactivate, or restart the process')
            self.deactivate()
        self._dropped_before += self._mailbox.dropped
        self._mailbox = Mailbox()
        self._worker = EngineWorker(
            self._open_runner, self._mailbox, self._heartbeat, self._statistics
        )

    def deactivate(self) -> None:
        """Stop scoring and close the engines; the heartbeat goes on, saying so."""
        if self._worker is None:
            return
        if self._worker.stop(STOP_TIMEOUT_S):
            self._worker = None
        else:
            _log.error('an engine call does not return; its thread is abandoned')
        self.supervisor.set_phase('inactive')
        self._heartbeat.emit_change()

    def stop(self) -> None:
        """Stop scoring, publish a last alert that says so, and end the heartbeat; idempotent."""
        if self._stopped:
            return
        self.deactivate()
        self.supervisor.set_phase('stopped')
        self._stopped = True
        self._heartbeat.stop()

    def submit(self, raw: RawImage | RawCompressedImage) -> None:
        """Hand over an image; never waits, an unread older image is dropped for it."""
        received_ns = self.supervisor.clock.now_ns()
        self._statistics.received()
        self.supervisor.received(received_ns)
        self._mailbox.put(Arrival(raw, received_ns, self._stamp_clock.now_ns()))

    def reset(self) -> tuple[bool, str]:
        """Let go of a latched state; refused, with the reason, while its cause persists."""
        answer = self.supervisor.reset()
        self._heartbeat.emit_change()
        return answer

    def fault(self, text: str) -> None:
        """Be in FAULT until an image is scored: what must come before the engines failed."""
        self.supervisor.engine_fault(text, code='setup_failed')
        self._heartbeat.emit_change()

    def statistics(self) -> Statistics:
        """Return counters, rates and latencies."""
        return self._statistics.summary(self._dropped_before + self._mailbox.dropped)

    @property
    def failed(self) -> str | None:
        """Why this process should end with an error and be replaced; None while it is of use."""
        return self._worker.failed if self._worker else None
