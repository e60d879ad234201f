from __future__ import annotations

import numpy as np
import pytest

from ros2_ood_monitor.supervision.clock import ManualClock
from ros2_ood_monitor.supervision.statistics import StatisticsWindow


def test_nothing_yet_is_zero_and_empty():
    summary = StatisticsWindow(ManualClock()).summary(dropped=0)
    assert (summary.received, summary.scored, summary.received_hz, summary.scored_hz) == (0,) * 4
    assert summary.latency_ms == {}


def test_rates_and_percentiles_of_a_steady_camera():
    clock = ManualClock(10**9)
    window = StatisticsWindow(clock)
    for frame in range(200):
        clock.advance_to(clock.now_ns() + 50_000_000)
        window.received()
        if frame % 2:
            window.scored({'inference': float(frame), 'total': 2.0 * frame})
        else:
            window.refused()
    window.failed()
    summary = window.summary(dropped=7)
    assert (summary.received, summary.scored, summary.refused) == (200, 100, 100)
    assert (summary.failed, summary.dropped) == (1, 7)
    assert summary.received_hz == pytest.approx(20.0)
    assert summary.scored_hz == pytest.approx(10.0)
    values = np.arange(1, 200, 2)
    assert summary.latency_ms['inference'] == pytest.approx(np.percentile(values, (50, 95, 99)))
    assert summary.latency_ms['total'][0] == 2 * summary.latency_ms['inference'][0]


def test_a_stall_shows_in_the_rates_and_the_past_is_forgotten():
    clock = ManualClock(10**9)
    window = StatisticsWindow(clock)
    for _ in range(20):
        clock.advance_to(clock.now_ns() + 100_000_000)
        window.received()
        window.scored({'total': 900.0})
    clock.advance_to(clock.now_ns() + 1_900_000_000)
    assert window.summary(0).received_hz == pytest.approx(5.0)
    clock.advance_to(clock.now_ns() + 20_000_000_000)
    summary = window.summary(0)
    assert summary.received_hz == 0.0
    assert summary.latency_ms == {}
    assert summary.scored == 20


def test_memory_is_bounded_at_any_camera_rate():
    clock = ManualClock(10**9)
    window = StatisticsWindow(clock)
    for _ in range(5000):
        clock.advance_to(clock.now_ns() + 1_000_000)
        window.received()
        window.scored({'total': 1.0})
    summary = window.summary(0)
    assert summary.received == 5000
    assert summary.received_hz == pytest.approx(1000.0, rel=0.01)
    assert len(window._results) == 1000
