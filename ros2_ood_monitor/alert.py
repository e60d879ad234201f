"""The alert: whether the camera's view can be trusted, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ros2_ood_monitor.frame import Header

SCHEMA = 1
"""Version of the alert's key list; consumers check it."""


class State(IntEnum):
    """What the monitor knows, least severe first; the most severe cause wins.

    Only NOMINAL and CAUTION are safe. A consumer that hears nothing for 0.5 s must assume FAULT.
    """

    NOMINAL = 0
    CAUTION = 1
    INITIALIZING = 2
    ALERT = 3
    FAULT = 4

    @property
    def unsafe(self) -> bool:
        """True unless NOMINAL or CAUTION."""
        return self > State.CAUTION


@dataclass(frozen=True)
class Cause:
    """One reason for a state: a machine-readable `code` and a sentence for a person."""

    state: State
    code: str
    text: str


@dataclass(frozen=True)
class Alert:
    """One heartbeat of one camera.

    `source` is the header of the newest scored frame (None before the first), `age_ms` how long
    ago (steady clock) that frame arrived, `seq` counts heartbeats from 0 without gaps.
    """

    camera: str
    state: State
    causes: tuple[Cause, ...]
    score: float
    """Conformal score of the newest scored frame; NaN before the first."""
    evidence: float
    """Accumulated CUSUM evidence."""
    threshold: float
    """CUSUM threshold; the alarm rule fires at evidence >= threshold."""
    seq: int
    age_ms: float
    """Infinity before the first frame."""
    source: Header | None = None
    latched: bool = False
    certified: bool | None = None
    """Whether the false-alarm rate of the bundle is certified; None while none is in use."""

    @property
    def message(self) -> str:
        """One sentence: the texts of the causes, most severe first."""
        ordered = sorted(self.causes, key=lambda cause: -cause.state)
        return '; '.join(cause.text for cause in ordered) or 'nothing unknown in view'
