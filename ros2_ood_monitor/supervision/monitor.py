"""One camera end to end: images in from any thread, alerts and results out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ros2_ood_monitor.alert import Alert
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Frame, Header, RawCompressedImage, RawImage
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.supervision.clock import Clock, SteadyClock, SystemClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.engine_worker import EngineWorker
from ros2_ood_monitor.supervision.input_check import InputCheck
from ros2_ood_monitor.supervision.judging import Arrival, judge
from ros2_ood_monitor.supervision.mailbox import Mailbox
from ros2_ood_monitor.supervision.state_machine import Supervisor
from ros2_ood_monitor.supervision.statistics import Statistics, StatisticsWindow
from ros2_ood_monitor.supervision.throttle import Throttle

WATCH_S = 0.02
"""How often the watchdogs are looked at between heartbeats."""

EARLY = 0.9
"""Share of the period after which the heartbeat beats: "at least" must survive a late thread."""

STOP_TIMEOUT_S = 2.0
"""How long an engine call may take to end when the monitor is stopped."""

_log = logging.getLogger(__name__)


class MonitorError(RuntimeError):
    """The monitor cannot do what was asked."""


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


class Monitor:
    """Watches one camera.

    `publish` is called with alerts from the moment of `start` until `stop`, at least at the
    heartbeat rate and at once when the state changes, on several threads but one alert at a time.
    Results follow outside that order on the engines' thread, so that a slow image never delays
    an alert. `open_runner` is called on that thread too, again after every failure.
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
        self._open_runner = open_runner
        self._config = config
        self._publish = publish
        self._clock = clock or SteadyClock()
        self._stamp_clock = stamp_clock or SystemClock()
        self._supervisor = Supervisor(camera, config, self._clock)
        self._statistics = StatisticsWindow(self._clock)
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._dropped_before = 0
        self._check = InputCheck(config)
        self._worker: EngineWorker | None = None
        self._publishing = threading.Lock()
        self._published: object = None
        self._throttle = Throttle()
        self._stopping = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name='heartbeat', daemon=True)

    def start(self, active: bool = True) -> None:
        """Publish the first alert and the heartbeat from now on; with `active`, also judge."""
        self._emit()
        self._heartbeat.start()
        if active:
            self.activate()

    def activate(self) -> None:
        """Load the engines and judge images; MonitorError if the last engine call still hangs."""
        if self._worker is not None:
            if self._worker.alive:
                raise MonitorError('the engines still run; deactivate, or restart the process')
            self.deactivate()
        self._check = InputCheck(self._config)
        self._dropped_before += self._mailbox.dropped
        self._mailbox = Mailbox()
        self._worker = EngineWorker(
            self._open_runner,
            self._mailbox,
            self._judge,
            self._emit_change,
            self._supervisor,
            self._config,
            self._clock,
        )

    def deactivate(self) -> None:
        """Stop judging and close the engines; the heartbeat goes on, saying so."""
        if self._worker is None:
            return
        if self._worker.stop(STOP_TIMEOUT_S):
            self._worker = None
        else:
            _log.error('an engine call does not return; its thread is abandoned')
        self._supervisor.set_phase('inactive')
        self._emit_change()

    def stop(self) -> None:
        """Stop judging, publish a last alert that says so, and end the heartbeat; idempotent."""
        if self._stopping.is_set():
            return
        self.deactivate()
        self._supervisor.set_phase('stopped')
        self._stopping.set()
        if self._heartbeat.is_alive():
            self._heartbeat.join()
        self._emit()

    def submit(self, raw: RawImage | RawCompressedImage) -> None:
        """Hand over an image; never waits, an unread older image is dropped for it."""
        received_ns = self._clock.now_ns()
        self._statistics.received()
        self._supervisor.received(received_ns)
        self._mailbox.put(Arrival(raw, received_ns, self._stamp_clock.now_ns()))

    def configure(self, config: SupervisionConfig) -> None:
        """Take over changed limits and delays; restarts change with the next `activate`."""
        self._config = config
        self._supervisor.configure(config)
        self._check.config = config

    def reset(self) -> tuple[bool, str]:
        """Let go of a latched state; refused, with the reason, while its cause persists."""
        answer = self._supervisor.reset()
        self._emit_change()
        return answer

    def fault(self, text: str) -> None:
        """Be in FAULT until an image is judged: what must come before the engines failed."""
        self._supervisor.engine_fault(text, code='setup_failed')
        self._emit_change()

    def statistics(self) -> Statistics:
        """Return counters, rates and latencies."""
        return self._statistics.summary(self._dropped_before + self._mailbox.dropped)

    @property
    def failed(self) -> str | None:
        """Why this process should end with an error and be replaced; None while it is of use."""
        return self._worker.failed if self._worker else None

    def _judge(self, arrival: Arrival, runner: Runner) -> None:
        taken_ns = self._clock.now_ns()
        try:
            result = judge(arrival, self._check, runner, self._supervisor)
        except Exception:
            self._statistics.failed()
            raise
        if result is None:
            self._statistics.refused()
            self._emit_change()
            return
        frame, detection = result
        alert = self._emit()
        self._statistics.judged(
            {
                'wait': (taken_ns - arrival.received_ns) / 1e6,
                **detection.timings,
                'total': (self._clock.now_ns() - arrival.received_ns) / 1e6,
            }
        )
        self._deliver(MonitorOutput(alert, frame, detection))

    def _beat(self) -> None:
        period_ns = round(EARLY * 1e9 / self._config.heartbeat_hz)
        # Waiting uses real time; which beats are due is the clock's business.
        due_ns = self._clock.now_ns() + period_ns
        while not self._stopping.wait(WATCH_S):
            now_ns = self._clock.now_ns()
            if now_ns + WATCH_S * 5e8 >= due_ns:
                due_ns = max(due_ns, now_ns - period_ns) + period_ns
                self._emit()
            else:
                self._emit_change()

    def _emit_change(self) -> None:
        state, causes = self._supervisor.verdict()
        if (state, [cause.code for cause in causes]) != self._published:
            self._emit()

    def _emit(self) -> Alert:
        with self._publishing:
            alert = self._supervisor.tick()
            self._published = (alert.state, [cause.code for cause in alert.causes])
            self._deliver(MonitorOutput(alert))
        return alert

    def _deliver(self, output: MonitorOutput) -> None:
        try:
            self._publish(output)
        except Exception:
            # The next heartbeat tries again; consumers treat the silence between as FAULT.
            if self._throttle.ready():
                _log.exception('publishing failed')
