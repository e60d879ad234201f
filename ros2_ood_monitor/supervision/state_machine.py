"""The state machine: what is known about one camera's view, and why.

Every way of not knowing is a cause, the most severe cause wins, and a cause is released only after
it has been absent for a while.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping

from ros2_ood_monitor.alert import Alert, Cause, State
from ros2_ood_monitor.bundle.certification import uncertified
from ros2_ood_monitor.bundle.manifest import UNKNOWN_VIEW, UNUSUAL_IMAGE, Channel
from ros2_ood_monitor.detection import ChannelScore, Detection
from ros2_ood_monitor.frame import Header
from ros2_ood_monitor.supervision.clock import Clock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.cusum import Cusum
from ros2_ood_monitor.supervision.decoding import InputFault
from ros2_ood_monitor.supervision.detection_causes import (
    alarm_causes,
    of_channel,
    reached,
    region_cause,
)
from ros2_ood_monitor.supervision.frame_rate import FrameRate
from ros2_ood_monitor.supervision.held_cause import HeldCause, Key, outdoes
from ros2_ood_monitor.supervision.region_streaks import RegionStreaks

PHASES: Mapping[str, Cause | None] = {
    'inactive': Cause(State.INITIALIZING, 'inactive', 'the monitor is not active'),
    'loading': Cause(State.INITIALIZING, 'loading', 'the engines are being loaded'),
    'ready': None,
    'stopped': Cause(State.FAULT, 'stopped', 'the monitor has stopped'),
}

OBJECT_CAUSES = ('unknown_region', UNKNOWN_VIEW)
"""What the channel `object` says."""


class Supervisor:
    """Turns detections, faults and the passing of time into alerts; any thread may call.

    Watchdogs run on `clock`, which must be steady. Nothing here blocks, so that an engine that
    hangs cannot keep `tick` from reporting it.
    """

    def __init__(self, camera: str, config: SupervisionConfig, clock: Clock) -> None:
        self._camera = camera
        self.config = config
        self.clock = clock
        self._lock = threading.Lock()
        self._held: dict[Key, HeldCause] = {}
        self._seq = 0
        self._phase = 'inactive'
        self._phase_since_ns = clock.now_ns()
        self._forget()

    def _forget(self) -> None:
        self._channels: Mapping[str, Channel] = {}
        self._certified: bool | None = None
        self._two_points = False
        self._rules: tuple[tuple[str, Cusum], ...] = ()
        self._rate = FrameRate()
        self._received_ns: int | None = None
        self._pending_since_ns: int | None = None
        self._scored_ns: int | None = None
        self._scored_since_loading = False
        self._source: Header | None = None
        self._scores: Mapping[str, ChannelScore] = {}
        self._late_ms: float | None = None
        self._input_fault: InputFault | None = None
        self._engine_fault: Cause | None = None
        self._forget_regions()

    def _forget_regions(self) -> None:
        self._strict, self._sensitive = RegionStreaks(), RegionStreaks()

    def configure(self, config: SupervisionConfig) -> None:
        """Apply changed limits and delays."""
        with self._lock:
            self.config = config

    def arm(self, channels: Mapping[str, Channel]) -> None:
        """Use the alarm rules of a bundle; the evidence survives a restart of the same bundle."""
        with self._lock:
            if self._channels != channels:
                self._channels = channels
                self._certified = uncertified(channels) is None
                self._rules = tuple(
                    (name, Cusum(alarm, channel.certificate.frame_rate))
                    for name, channel in channels.items()
                    for alarm in channel.alarms
                )

    def set_phase(self, phase: str) -> None:
        """Enter 'inactive', 'loading', 'ready' or 'stopped'; 'inactive' forgets all frames.

        An engine fault outlives reloading: only a scored frame proves that it is gone.
        """
        if phase not in PHASES:
            raise ValueError(f'phase must be one of {", ".join(PHASES)}, not {phase!r}')
        with self._lock:
            self._hold()
            if phase != self._phase or phase == 'loading':
                # Ready once more is no reason to forgive a camera its silence.
                self._phase_since_ns = self.clock.now_ns()
            self._phase = phase
            self._pending_since_ns = None
            if phase == 'loading':
                self._scored_since_loading = False
            if phase == 'inactive':
                self._forget()
                self._let_go(lambda held: not self._is_latched(held))

    def received(self, received_ns: int) -> None:
        """Record that an image arrived at `received_ns`, accepted or not."""
        with self._lock:
            # A silence that ends here must be held even if no tick came meanwhile.
            self._hold()
            self._received_ns = received_ns
            if self._pending_since_ns is None:
                self._pending_since_ns = received_ns

    def accepted(self, detection: Detection, header: Header, received_ns: int) -> bool:
        """Take the result of a frame that arrived at `received_ns`; False if it is worthless.

        A score that is not finite is an engine fault; a result after deactivation is ignored.
        """
        for name, found in detection.scores.items():
            if not (math.isfinite(found.score) and math.isfinite(found.statistic)):
                text = f'the engines gave score {found.score} and statistic {found.statistic}'
                self.engine_fault(text + of_channel(name), received_ns, 'not_finite')
                return False
        with self._lock:
            if self._is_off():
                return False
            if not self._rules:
                raise RuntimeError('arm() the supervisor with the alarm rules before any frame')
            self._hold()
            self._answered(received_ns)
            self._input_fault = None
            self._engine_fault = None
            self._scored_ns = received_ns
            self._scored_since_loading = True
            self._source = header
            self._scores = detection.scores
            late_ms = (self.clock.now_ns() - received_ns) / 1e6
            self._late_ms = late_ms if late_ms > self.config.max_age_ms else None
            self._rate.update(received_ns)
            for name, cusum in self._rules:
                weight = self._rate.weight(self._channels[name].certificate.frame_rate)
                cusum.update(detection.scores[name].score, weight)
            window = max(self.config.trigger_window, self.config.trigger_frames)
            sensitive = detection.sensitive_regions
            self._two_points = sensitive is not None
            self._strict.update(detection.regions, window)
            self._sensitive.update(detection.regions if sensitive is None else sensitive, window)
            true = self._hold()
            blind = any(cause.code == UNUSUAL_IMAGE for cause in true.values())
            for key, held in self._held.items():
                # On an image unlike those of the calibration, no region is no good news.
                if key not in true and not (blind and held.cause.code in OBJECT_CAUSES):
                    held.good_frames += 1
            return True

    def input_fault(self, fault: InputFault, received_ns: int) -> None:
        """Note that the image that arrived at `received_ns` must not be scored."""
        with self._lock:
            if self._is_off():
                return
            self._hold()
            self._answered(received_ns)
            self._input_fault = fault
            self._forget_regions()
            self._restart_release()

    def engine_fault(
        self, text: str, received_ns: int | None = None, code: str = 'engine_failed'
    ) -> None:
        """Record that the engines failed, on the image that arrived at `received_ns` if any.

        Without an image it counts in every phase, also when they fail before they can start.
        """
        with self._lock:
            if self._is_off() and received_ns is not None:
                return
            self._hold()
            if received_ns is not None:
                self._answered(received_ns)
            self._engine_fault = Cause(State.FAULT, code, text)
            self._forget_regions()
            self._restart_release()

    def decision(self) -> tuple[State, tuple[Cause, ...]]:
        """Return the state now and its causes, most severe first."""
        with self._lock:
            state, causes, _ = self._decide()
            return state, causes

    def tick(self) -> Alert:
        """Return the next alert of the heartbeat."""
        with self._lock:
            state, causes, latched = self._decide()
            leading = self._leading()
            score, evidence, threshold = math.nan, 0.0, math.nan
            if leading is not None:
                name, cusum = leading
                evidence, threshold = cusum.evidence, cusum.threshold
                score = self._scores[name].score if self._scores else math.nan
            seq, self._seq = self._seq, self._seq + 1
            age_ms = math.inf
            if self._scored_ns is not None:
                age_ms = (self.clock.now_ns() - self._scored_ns) / 1e6
            return Alert(
                camera=self._camera,
                state=state,
                causes=causes,
                score=score,
                evidence=evidence,
                threshold=threshold,
                seq=seq,
                age_ms=age_ms,
                source=self._source,
                latched=latched,
                certified=self._certified,
            )

    def reset(self) -> tuple[bool, str]:
        """Release latched causes; refused, with the reason, until all of them are over."""
        with self._lock:
            self._hold()
            now_ns = self.clock.now_ns()
            severe = [held for held in self._held.values() if held.cause.state >= State.ALERT]
            persisting = [held.cause.text for held in severe if not self._is_over(held, now_ns)]
            if persisting:
                return False, f'not reset, the cause persists: {"; ".join(persisting)}'
            self._let_go(self._is_latched)
            return True, 'reset'

    def _is_off(self) -> bool:
        return self._phase in ('inactive', 'stopped')

    def _answered(self, received_ns: int) -> None:
        # A newer image may be waiting; its time counts from its own arrival.
        newest = self._received_ns
        self._pending_since_ns = newest if newest is not None and newest > received_ns else None

    def _restart_release(self) -> None:
        for held in self._held.values():
            held.good_frames = 0

    def _is_latched(self, held: HeldCause) -> bool:
        return self.config.latch and held.cause.state >= State.ALERT

    def _is_over(self, held: HeldCause, now_ns: int) -> bool:
        return (
            held.good_frames >= self.config.release_frames
            and now_ns - held.last_true_ns >= self.config.release_s * 1e9
        )

    def _let_go(self, condition: Callable[[HeldCause], bool]) -> None:
        self._held = {code: held for code, held in self._held.items() if not condition(held)}

    def _hold(self) -> dict[Key, Cause]:
        """Hold every cause that is true now; called before and after each change. Returns them."""
        now_ns = self.clock.now_ns()
        true = {
            (cause.code, cause.state): cause
            for cause in (*self._phase_causes(now_ns), *self._frame_causes())
        }
        for key, cause in true.items():
            # INITIALIZING ends with its cause: by then a scored frame has said something better.
            if cause.state != State.INITIALIZING:
                self._held[key] = HeldCause(cause, now_ns)
        return true

    def _decide(self) -> tuple[State, tuple[Cause, ...], bool]:
        true = self._hold()
        now_ns = self.clock.now_ns()
        self._let_go(lambda held: self._is_over(held, now_ns) and not self._is_latched(held))
        causes = [
            held.cause
            for held in self._held.values()
            if not any(outdoes(other.cause, held.cause) for other in self._held.values())
        ]
        causes += [cause for cause in true.values() if cause.state == State.INITIALIZING]
        causes.sort(key=lambda cause: -cause.state)
        state = max((cause.state for cause in causes), default=State.NOMINAL)
        past = (held for key, held in self._held.items() if key not in true)
        return state, tuple(causes), any(self._is_latched(held) for held in past)

    def _leading(self) -> tuple[str, Cusum] | None:
        """Return channel and rule nearest to, or furthest beyond, its threshold."""
        return max(self._rules, key=lambda rule: reached(rule[1]), default=None)

    def _frame_causes(self) -> Iterator[Cause]:
        if self._engine_fault is not None:
            yield self._engine_fault
        if self._input_fault is not None:
            yield Cause(State.FAULT, self._input_fault.code, str(self._input_fault))
        if self._late_ms is not None:
            yield Cause(
                State.FAULT,
                'too_slow',
                f'the result took {self._late_ms:.0f} ms, allowed are {self.config.max_age_ms:g}',
            )
        yield from alarm_causes(self._channels, self._rules)
        frames = self.config.trigger_frames
        strict, sensitive = self._strict.largest(frames), self._sensitive.largest(frames)
        if strict is not None and self._two_points:
            yield region_cause(State.ALERT, strict)
        elif sensitive is not None:
            yield region_cause(State.CAUTION, sensitive)

    def _phase_causes(self, now_ns: int) -> Iterator[Cause]:
        config = self.config
        phase_s = (now_ns - self._phase_since_ns) / 1e9
        starting = phase_s <= config.startup_timeout_s
        cause = PHASES[self._phase]
        if cause is not None:
            yield cause
            if self._phase == 'loading' and not starting:
                text = f'the engines have been loading for {phase_s:.0f} s'
                yield Cause(State.FAULT, 'loading_slow', text)
            return
        if not self._scored_since_loading:
            yield Cause(State.INITIALIZING, 'no_frame_judged', 'no image has been scored yet')
        if self._received_ns is None:
            if not starting:
                text = f'no image has arrived for {phase_s:.0f} s; is the camera running?'
                yield Cause(State.FAULT, 'no_image', text)
            return
        # Time spent loading does not count against the camera.
        silent_s = (now_ns - max(self._received_ns, self._phase_since_ns)) / 1e9
        if silent_s > config.stale_after_s:
            yield Cause(State.FAULT, 'stale', f'no image for {silent_s:.1f} s')
        elif self._pending_since_ns is not None and self._engine_fault is None:
            pending_ms = (now_ns - self._pending_since_ns) / 1e6
            if pending_ms > config.max_age_ms:
                text = f'an image has been waiting for its result for {pending_ms:.0f} ms'
                yield Cause(State.FAULT, 'too_slow', text)
