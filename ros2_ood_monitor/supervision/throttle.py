"""Rate limit for log lines that would repeat with every frame."""

from __future__ import annotations

import time


class Throttle:
    """Says `ready()` at once and then at most every `period_s` seconds."""

    def __init__(self, period_s: float = 5.0) -> None:
        self._period_s = period_s
        self._next_s = float('-inf')

    def ready(self) -> bool:
        """Return True when it is time for another line."""
        now = time.monotonic()
        if now < self._next_s:
            return False
        self._next_s = now + self._period_s
        return True
