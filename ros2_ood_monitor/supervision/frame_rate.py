"""How fast frames come, and how much one counts for rules calibrated at another rate."""

from __future__ import annotations

from collections import deque

import numpy as np

LARGEST_RATE_CHANGE = 1.3
"""Rules scale with the rate of frames up to this factor; beyond, they are of another camera."""
INTERVALS = 15
"""Intervals whose median is the rate: one frame that is late or lost changes nothing."""
LEAST_INTERVALS = 5


class FrameRate:
    """The rate of the frames that are scored, from when they arrived.

    >>> rate = FrameRate()
    >>> for frame in range(10):
    ...     rate.update(frame * 50_000_000)
    >>> rate.hz, round(rate.weight(25.0), 6)
    (20.0, 1.25)
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._intervals_ns: deque[int] = deque(maxlen=INTERVALS)

    def update(self, received_ns: int) -> None:
        """Take the arrival of the next frame."""
        if self._last_ns is not None and received_ns > self._last_ns:
            self._intervals_ns.append(received_ns - self._last_ns)
        self._last_ns = received_ns

    @property
    def hz(self) -> float | None:
        """Frames per second, None before there are enough of them."""
        if len(self._intervals_ns) < LEAST_INTERVALS:
            return None
        return float(1e9 / np.median(self._intervals_ns))

    def weight(self, calibrated_hz: float) -> float:
        """Return for how many frames of the calibration one frame stands, within the factor.

        Evidence of a second then stays what it was.
        """
        hz = self.hz
        if hz is None:
            return 1.0
        return float(np.clip(calibrated_hz / hz, 1 / LARGEST_RATE_CHANGE, LARGEST_RATE_CHANGE))
