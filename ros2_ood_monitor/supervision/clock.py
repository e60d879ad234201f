"""Clocks: a steady one for watchdogs, the system's for stamps, a manual one for recordings."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time in nanoseconds."""

    def now_ns(self) -> int:
        """Return the current time in nanoseconds."""


class SteadyClock:
    """Monotonic time: watchdogs must not notice a step of the system clock or a paused /clock."""

    def now_ns(self) -> int:
        """Return nanoseconds since an arbitrary start, never going back."""
        return time.monotonic_ns()


class SystemClock:
    """Time since the epoch, what image stamps are compared with outside ROS."""

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch; may jump when the system clock is set."""
        return time.time_ns()


class ManualClock:
    """Time that moves only when told to, for recordings."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the time last set, in nanoseconds."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move forward to `now_ns`; a time in the past is ignored."""
        self._now_ns = max(self._now_ns, now_ns)
