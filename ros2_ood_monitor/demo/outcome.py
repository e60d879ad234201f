"""Injected events against the alert topic: delays, misses, false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ros2_ood_monitor.alert import State
from ros2_ood_monitor.demo.schedule import EventKind
from ros2_ood_monitor.demo.truth import Injected

EXPECTED = {
    EventKind.ANOMALY: State.ALERT,
    EventKind.FREEZE: State.FAULT,
    EventKind.DEATH: State.FAULT,
}
"""The state that answers each kind of event."""

RELEASE_S = 2.0
"""Seconds after an event in which the debounced release may still show, or settle."""


@dataclass(frozen=True)
class Transition:
    """The alert topic changed state at `at_s`, seconds of the steady clock."""

    at_s: float
    state: State
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


@dataclass(frozen=True)
class Outcome:
    """The demo's result."""

    answers: tuple[Answer, ...]
    false_alarms: tuple[Transition, ...]
    limit_s: float

    @property
    def passed(self) -> bool:
        """True if every event was answered within the limit and nothing else raised an alarm."""
        delays = [answer.delay_s for answer in self.answers]
        return not self.false_alarms and all(
            delay is not None and delay <= self.limit_s for delay in delays
        )


def is_answer(transition: Transition, one: Injected) -> bool:
    """Return whether the transition is the right answer to an event, while it lasts."""
    return (
        one.start_s <= transition.at_s <= one.end_s
        and transition.state is EXPECTED[one.event.kind]
    )


def compare(
    injected: Sequence[Injected], transitions: Sequence[Transition], limit_s: float
) -> Outcome:
    """Match transitions to events; an alarm outside every event's window is false.

    An event is answered by the first transition into its expected state between its begin and its
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
    false_alarms = tuple(
        transition
        for transition in transitions
        if transition.at_s > settled
        and transition.state.unsafe
        and not any(one.start_s <= transition.at_s <= one.end_s + RELEASE_S for one in injected)
    )
    return Outcome(tuple(answers), false_alarms, limit_s)
