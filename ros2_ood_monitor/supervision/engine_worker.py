"""The one thread that owns the engines: opens, feeds and restarts them, and reports failures."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ros2_ood_monitor.inference.runner import Runner, SelfTestError
from ros2_ood_monitor.supervision.heartbeat import Heartbeat, MonitorOutput
from ros2_ood_monitor.supervision.input_check import InputCheck
from ros2_ood_monitor.supervision.mailbox import Mailbox
from ros2_ood_monitor.supervision.scoring import Arrival, score_arrival
from ros2_ood_monitor.supervision.statistics import StatisticsWindow

FAILURES_IN_A_ROW = 3
"""One failing image may be the image's fault; this many are the engines'."""

HEALTHY_S = 60.0
"""Engines that ran this long get the full number of restarts again."""

HUNG_S = 10.0
"""An engine call that takes longer will not come back; only a new process can help."""

_log = logging.getLogger(__name__)


class EngineWorker:
    """Opens a runner and hands it every image of the mailbox, on a thread of its own.

    A GPU context belongs to the thread that made it, so the runner is created, used and closed
    here and nowhere else. The number of restarts is that of the supervisor's configuration when
    the worker starts.
    """

    def __init__(
        self,
        open_runner: Callable[[], Runner],
        mailbox: Mailbox[Arrival],
        heartbeat: Heartbeat,
        statistics: StatisticsWindow,
    ) -> None:
        self._open_runner = open_runner
        self._mailbox = mailbox
        self._heartbeat = heartbeat
        self._supervisor = heartbeat.supervisor
        self._clock = heartbeat.supervisor.clock
        self._config = heartbeat.supervisor.config
        self._statistics = statistics
        self._check = InputCheck(self._config)
        self._stopping = threading.Event()
        self._busy_since_ns: int | None = None
        self._gave_up: str | None = None
        self._thread = threading.Thread(target=self._run, name='engines', daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True until the thread has ended."""
        return self._thread.is_alive()

    @property
    def failed(self) -> str | None:
        """Why this process cannot score any more and should be replaced; None if it can."""
        busy_since_ns = self._busy_since_ns
        if busy_since_ns is not None:
            seconds = (self._clock.now_ns() - busy_since_ns) / 1e9
            if seconds > HUNG_S:
                return f'an engine call has not returned for {seconds:.0f} s'
        return self._gave_up

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait for it; False if an engine call keeps it."""
        self._stopping.set()
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self.alive

    def _run(self) -> None:
        attempt = 0
        while True:
            start_ns = self._clock.now_ns()
            try:
                self._serve()
                return
            # Nothing may end this thread unreported, not even SystemExit from a library.
            except BaseException as error:
                text = _describe(error)
                _log.error('the engines failed: %s', text, exc_info=error)
                if self._stopping.is_set():
                    return
                tested = isinstance(error, SelfTestError)
                self._supervisor.engine_fault(
                    text, code='self_test_failed' if tested else 'engine_failed'
                )
                self._heartbeat.emit_change()
            if self._clock.now_ns() - start_ns > HEALTHY_S * 1e9:
                attempt = 0
            if attempt == self._config.restart_attempts:
                self._gave_up = f'{text}; given up after {attempt} restarts'
                _log.error(self._gave_up)
                return
            if self._stopping.wait(self._config.restart_backoff_s * 2**attempt):
                return
            attempt += 1

    def _serve(self) -> None:
        """Run one runner until stopped; raises what made it unusable."""
        self._supervisor.set_phase('loading')
        self._heartbeat.emit_change()
        runner = self._open_runner()
        try:
            runner.self_test()
            if self._stopping.is_set():
                return
            self._supervisor.arm(runner.bundle.channels)
            # What waited while the engines were loaded shows the past.
            self._mailbox.clear()
            self._supervisor.set_phase('ready')
            self._heartbeat.emit_change()
            self._score_all(runner)
        finally:
            try:
                runner.close()
            except Exception:
                _log.exception('the engines could not be closed')

    def _score_all(self, runner: Runner) -> None:
        failures = 0
        while True:
            arrival = self._mailbox.take()
            if arrival is None:
                return
            self._busy_since_ns = self._clock.now_ns()
            try:
                self._score(arrival, runner)
                failures = 0
            except Exception as error:
                failures += 1
                if failures == FAILURES_IN_A_ROW:
                    raise
                text = _describe(error)
                _log.warning('the engines failed on an image: %s', text)
                self._supervisor.engine_fault(text, arrival.received_ns)
                self._heartbeat.emit_change()
            finally:
                self._busy_since_ns = None

    def _score(self, arrival: Arrival, runner: Runner) -> None:
        taken_ns = self._clock.now_ns()
        self._check.config = self._supervisor.config
        try:
            result = score_arrival(arrival, self._check, runner, self._supervisor)
        except Exception:
            self._statistics.failed()
            raise
        if result is None:
            self._statistics.refused()
            self._heartbeat.emit_change()
            return
        frame, detection = result
        alert = self._heartbeat.emit()
        self._statistics.scored(
            {
                'wait': (taken_ns - arrival.received_ns) / 1e6,
                **detection.timings,
                'total': (self._clock.now_ns() - arrival.received_ns) / 1e6,
            }
        )
        self._heartbeat.deliver(MonitorOutput(alert, frame, detection))


def _describe(error: BaseException) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'
