"""A camera on a simulated clock, watched by the checks, engines and supervision of the monitor."""

from __future__ import annotations

from dataclasses import dataclass, field

from ros2_ood_monitor.alert import State
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Frame, Header, Stamp, UInt8Array
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.messages.conversions import rgb_message
from ros2_ood_monitor.supervision.clock import ManualClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.input_check import InputCheck
from ros2_ood_monitor.supervision.scoring import Arrival, Scorer, score_arrival
from ros2_ood_monitor.supervision.state_machine import Supervisor

START_NS = 1_000_000_000
"""A stamp of zero would mean that the camera has set none."""


def frame_rate(runner: Runner) -> float:
    """Return the frames per second that the bundle was calibrated for."""
    return runner.bundle.channels[DEFAULT_CHANNEL].certificate.frame_rate


@dataclass
class Raised:
    """When, in seconds since the first image, each state and each cause was first published."""

    states: dict[State, float] = field(default_factory=dict)
    causes: dict[tuple[str, State], float] = field(default_factory=dict)

    def at_least(self, state: State) -> float | None:
        """Return when the state was first `state` or worse; None if it never was."""
        return min((when for each, when in self.states.items() if each >= state), default=None)

    @property
    def codes(self) -> tuple[str, ...]:
        """The causes, the first one first."""
        return tuple(dict.fromkeys(code for code, _ in self.causes))

    def worst(self, codes: frozenset[str] | None = None) -> State:
        """Return the worst state that these causes (None: any) brought about."""
        states = (state for code, state in self.causes if codes is None or code in codes)
        return max(states, default=State.NOMINAL)


class SimulatedCamera:
    """Shows images at a frame rate to a monitor of its own, and remembers what that published."""

    def __init__(self, scorer: Scorer, fps: float) -> None:
        config = SupervisionConfig(check_stamp_age=False)
        self._clock = ManualClock(START_NS)
        self._check = InputCheck(config)
        self._supervisor = Supervisor('simulated', config, self._clock)
        self._supervisor.set_phase('loading')
        self._supervisor.arm(scorer.bundle.channels)
        self._supervisor.set_phase('ready')
        self._scorer = scorer
        self._fps = fps
        self.shown = 0
        self.raised = Raised()

    def show(self, image: UInt8Array) -> State:
        """Show the next image, uint8 RGB (H, W, 3); return the state that is published then.

        Raises RunnerError if the engines fail: a measurement must not count that as an alarm.
        """
        now_ns = START_NS + round(self.shown * 1e9 / self._fps)
        self._clock.advance_to(now_ns)
        self._supervisor.received(now_ns)
        raw = rgb_message(Header(Stamp.from_ns(now_ns), 'simulated'), image)
        score_arrival(Arrival(raw, now_ns, now_ns), self._check, self._scorer, self._supervisor)
        seconds = self.shown / self._fps
        self.shown += 1
        state, causes = self._supervisor.decision()
        self.raised.states.setdefault(state, seconds)
        for cause in causes:
            self.raised.causes.setdefault((cause.code, cause.state), seconds)
        return state


class Remembering:
    """Scores equal images once: a view that is held shows few images many times."""

    def __init__(self, scorer: Scorer) -> None:
        self.bundle = scorer.bundle
        self._scorer = scorer
        self._known: dict[bytes, Detection] = {}

    def infer(self, frame: Frame) -> Detection:
        """Return what the scorer says, or said, about the frame's image."""
        key = frame.image.tobytes()
        if key not in self._known:
            self._known[key] = self._scorer.infer(frame)
        return self._known[key]
