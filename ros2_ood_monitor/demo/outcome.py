"""Injected events against the alert topic: delays, misses, false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ros2_ood_monitor.alert import State
from ros2_ood_monitor.demo.schedule import EventKind
from ros2_ood_monitor.demo.truth import Injected


@dataclass(frozen=True)
class Expected:
    """What answers a kind of event."""

    state: State
    """This one or a worse one."""
    codes: frozenset[str]
    """Any of these causes: an alarm for another reason is no answer."""
    limit_s: float
    """Largest delay from the event to its alert."""


EXPECTED = {
    EventKind.ANOMALY: Expected(State.CAUTION, frozenset({'unknown_region', 'unknown_view'}), 0.5),
    EventKind.VIEW: Expected(State.ALERT, frozenset({'unusual_image'}), 2.0),
    EventKind.FREEZE: Expected(State.FAULT, frozenset({'frozen'}), 0.5),
    EventKind.DEATH: Expected(State.FAULT, frozenset({'stale'}), 0.5),
}

RELEASE_S = 2.0
"""Seconds after an event in which the debounced release may still show, or settle."""


@dataclass(frozen=True)
class Transition:
    """The alert topic changed state or causes at `at_s`, seconds of the steady clock."""

    at_s: float
    state: State
    codes: frozenset[str] = frozenset()
    text: str = ''


@dataclass(frozen=True)
class Answer:
    """The alert that answered an injected event; None if none did in time."""

    injected: Injected
    alert: Transition | None
    cleared_s: float | None
    """When the state was safe again."""

    @property
    def delay_s(self) -> float | None:
        """Seconds from the event to its alert."""
        return None if self.alert is None else self.alert.at_s - self.injected.start_s

    @property
    def in_time(self) -> bool:
        """True if the alert came within the limit of its kind of event."""
        limit_s = EXPECTED[self.injected.event.kind].limit_s
        return self.delay_s is not None and self.delay_s <= limit_s


@dataclass(frozen=True)
class Outcome:
    """The demo's result."""

    answers: tuple[Answer, ...]
    false_alarms: tuple[Transition, ...]

    @property
    def passed(self) -> bool:
        """True if every event was answered in time and nothing else raised an alarm."""
        return not self.false_alarms and all(answer.in_time for answer in self.answers)


def is_answer(transition: Transition, one: Injected) -> bool:
    """Return whether the transition is the right answer to an event, while it lasts."""
    expected = EXPECTED[one.event.kind]
    return (
        one.start_s <= transition.at_s <= one.end_s
        and transition.state >= expected.state
        and bool(transition.codes & expected.codes)
    )


def compare(injected: Sequence[Injected], transitions: Sequence[Transition]) -> Outcome:
    """Match transitions to events; an alarm outside every event's window is false.

    An event is answered by the first transition to its expected cause between its begin and its
    end. INITIALIZING before the first safe state is the start of the monitor, not an alarm.
    """
    answers = []
    for one in injected:
        alert = next((change for change in transitions if is_answer(change, one)), None)
        cleared = None
        if alert is not None:
            cleared = next(
                (
                    transition.at_s
                    for transition in transitions
                    if transition.at_s > alert.at_s and not transition.state.unsafe
                ),
                None,
            )
        answers.append(Answer(one, alert, cleared))
    settled = next((one.at_s for one in transitions if not one.state.unsafe), float('inf'))
    states = [None, *(one.state for one in transitions)]
    false_alarms = tuple(
        transition
        for transition, before in zip(transitions, states, strict=False)
        if transition.at_s > settled
        and transition.state.unsafe
        and transition.state is not before  # one alarm may find more and more causes
        and not any(one.start_s <= transition.at_s <= one.end_s + RELEASE_S for one in injected)
    )
    return Outcome(tuple(answers), false_alarms)
