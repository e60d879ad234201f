"""The monitor's own performance: counters, and rates and latencies of the last seconds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ros2_ood_monitor.supervision.clock import Clock

WINDOW_S = 10.0
WINDOW_FRAMES = 1000
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Statistics:
    """Counts since the start; rates and latencies over the last 10 s (at most 1000 frames)."""

    received: int
    """Images that arrived."""
    scored: int
    """Images with a result."""
    refused: int
    """Images that the input checks refused, or whose score was not finite."""
    failed: int
    """Images on which the engines failed."""
    dropped: int
    """Images replaced by a newer one before their turn."""
    received_hz: float
    scored_hz: float
    latency_ms: Mapping[str, tuple[float, float, float]]
    """Stage to its 50th, 95th and 99th percentile; `total` is arrival to result."""


class StatisticsWindow:
    """Collects what `Statistics` reports; any thread may call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(('received', 'scored', 'refused', 'failed'), 0)
        self._arrivals: deque[int] = deque(maxlen=WINDOW_FRAMES)
        self._results: deque[tuple[int, Mapping[str, float]]] = deque(maxlen=WINDOW_FRAMES)

    def received(self) -> None:
        """Count an arrival."""
        with self._lock:
            self._counts['received'] += 1
            self._arrivals.append(self._clock.now_ns())

    def scored(self, timings_ms: Mapping[str, float]) -> None:
        """Count a result with its milliseconds per stage."""
        with self._lock:
            self._counts['scored'] += 1
            self._results.append((self._clock.now_ns(), timings_ms))

    def refused(self) -> None:
        """Count an image without a usable result."""
        with self._lock:
            self._counts['refused'] += 1

    def failed(self) -> None:
        """Count an image on which the engines failed."""
        with self._lock:
            self._counts['failed'] += 1

    def summary(self, dropped: int) -> Statistics:
        """Return the numbers as they are now."""
        with self._lock:
            now_ns = self._clock.now_ns()
            since_ns = now_ns - round(WINDOW_S * 1e9)
            arrivals = [time_ns for time_ns in self._arrivals if time_ns >= since_ns]
            results = [entry for entry in self._results if entry[0] >= since_ns]
            counts = dict(self._counts)
        stages: dict[str, list[float]] = {}
        for _, timings in results:
            for stage, milliseconds in timings.items():
                stages.setdefault(stage, []).append(milliseconds)
        return Statistics(
            **counts,
            dropped=dropped,
            received_hz=_rate(arrivals, now_ns),
            scored_hz=_rate([time_ns for time_ns, _ in results], now_ns),
            latency_ms={stage: _percentiles(values) for stage, values in stages.items()},
        )


def _rate(times_ns: list[int], now_ns: int) -> float:
    # Up to now, not up to the last event, so that a stall shows.
    if len(times_ns) < 2 or now_ns <= times_ns[0]:
        return 0.0
    return (len(times_ns) - 1) / ((now_ns - times_ns[0]) / 1e9)


def _percentiles(values: list[float]) -> tuple[float, float, float]:
    p50, p95, p99 = (float(value) for value in np.percentile(values, PERCENTILES))
    return p50, p95, p99
