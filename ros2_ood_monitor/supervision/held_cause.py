"""A cause that is, or recently was, true; it is let go after it has been absent for a while."""

from __future__ import annotations

from dataclasses import dataclass

from ros2_ood_monitor.alert import Cause, State

Key = tuple[str, State]
"""A cause is held by code and state: a milder one of the same code must not replace it."""


@dataclass
class HeldCause:
    """When a cause was last true, and how many good frames in a row have come since."""

    cause: Cause
    last_true_ns: int
    good_frames: int = 0


def outdoes(first: Cause, second: Cause) -> bool:
    """Return whether `first` says the same as `second`, but more severe."""
    return first.code == second.code and first.state > second.state
