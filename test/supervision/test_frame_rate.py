"""Alarm rules at another frame rate than that of the calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.channels import channel_scores, some_channel

from ros2_ood_monitor.bundle.manifest import Alarm
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Header
from ros2_ood_monitor.supervision.clock import ManualClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.frame_rate import LARGEST_RATE_CHANGE, FrameRate
from ros2_ood_monitor.supervision.state_machine import Supervisor

CALIBRATED_HZ = 20.0
ALARM = Alarm(drift=1.0, threshold=30.0)


def seconds_to_alarm(hz: float, score: float, before: float = 0.5) -> float:
    """Return how long `score` lasts before the alarm, after 3 s of the score `before`."""
    clock = ManualClock()
    supervisor = Supervisor('front', SupervisionConfig(), clock)
    supervisor.arm({'object': some_channel(ALARM, CALIBRATED_HZ)})
    supervisor.set_phase('ready')
    for frame in range(round(60 * hz)):
        clock.advance_to(round(1e9 * frame / hz))
        seen = frame / hz - 3
        scores = channel_scores(before if seen < 0 else score)
        pixels = np.zeros((1, 1), np.uint8)
        detection = Detection(pixels, pixels.astype(np.float32), scores)
        supervisor.accepted(detection, Header(), clock.now_ns())
        _, causes = supervisor.decision()
        if any(cause.code == 'unknown_view' for cause in causes):
            return seen
    return np.inf


@pytest.mark.parametrize('factor', [1 / 1.28, 0.9, 1.1, 1.28])
def test_the_delay_in_seconds_is_that_of_the_calibrated_rate(factor: float) -> None:
    usual = seconds_to_alarm(CALIBRATED_HZ, 2.0)
    assert usual == pytest.approx(30 / CALIBRATED_HZ, abs=0.1)
    other = seconds_to_alarm(CALIBRATED_HZ * factor, 2.0)
    # A frame more or less.
    assert other == pytest.approx(usual, abs=1.5 / CALIBRATED_HZ / min(1, factor))
    assert seconds_to_alarm(CALIBRATED_HZ * factor, 0.99) == np.inf


def test_three_frames_are_the_fewest_at_any_rate() -> None:
    for hz in (CALIBRATED_HZ / 1.28, CALIBRATED_HZ, 1.28 * CALIBRATED_HZ):
        # The first of the three comes up to a frame after those 3 s.
        assert 2 <= seconds_to_alarm(hz, 1e6) * hz < 3


@given(
    hz=st.floats(0.5, 200),
    calibrated=st.floats(0.5, 200),
    jitter=st.lists(st.floats(-0.2, 0.2), min_size=20, max_size=60),
)
def test_jitter_and_a_lost_frame_hardly_change_the_weight(hz, calibrated, jitter) -> None:
    rate = FrameRate()
    for frame, part in enumerate(jitter):
        # One frame in the middle comes two intervals late.
        rate.update(round(1e9 * (frame + part + (2 if frame > 10 else 0)) / hz))
    expected = np.clip(calibrated / hz, 1 / LARGEST_RATE_CHANGE, LARGEST_RATE_CHANGE)
    assert 1 / LARGEST_RATE_CHANGE <= rate.weight(calibrated) <= LARGEST_RATE_CHANGE
    assert rate.weight(calibrated) == pytest.approx(expected, rel=0.45)
    assert rate.hz == pytest.approx(hz, rel=0.7)


def test_too_few_frames_say_nothing_of_a_rate() -> None:
    rate = FrameRate()
    for frame in range(5):
        rate.update(frame * 10_000_000)
        rate.update(frame * 10_000_000)  # the same time twice is no interval
        assert rate.hz is None
        assert rate.weight(1.0) == 1.0
