"""A short recording certifies nothing, and its own frames raise no alarm when they last."""

from __future__ import annotations

import numpy as np
import pytest

from ros2_ood_monitor.bundle.manifest import (
    UNUSUAL_IMAGE,
    Certificate,
    Channel,
    Statistic,
)
from ros2_ood_monitor.calibration.channels import AlarmBudget, calibrate
from ros2_ood_monitor.calibration.sequences import NormalSequence
from ros2_ood_monitor.inference.fusion import frame_score, tail_scale
from ros2_ood_monitor.supervision.cusum import Cusum

RATE = 15.0
IMAGE = Channel(
    None,
    None,
    None,
    (),
    Certificate(0.0, None, 1.0, None, None),
    (Statistic('moments', 'image_statistics', 0, 1.0, ()),),
    UNUSUAL_IMAGE,
)


@pytest.fixture(scope='module')
def short() -> Channel:
    values = np.random.default_rng(1).normal(size=101)
    sequence = NormalSequence({'image.moments': values})
    return calibrate([sequence], {'image': IMAGE}, AlarmBudget(1.0, RATE))['image']


def alarms(channel: Channel, value: float, frames: int = 30) -> bool:
    """Return whether a view of this value, held for two seconds, raises an alarm."""
    reference = channel.statistics[0].reference
    score = frame_score(value, reference, tail_scale(reference))
    rules = [Cusum(alarm, RATE) for alarm in channel.alarms]
    for _ in range(frames):
        for rule in rules:
            rule.update(score)
    return any(rule.alarming for rule in rules)


def test_a_short_recording_certifies_nothing(short: Channel) -> None:
    assert short.certificate.certified_per_hour is None
    assert not short.certificate.certified


def test_hardly_any_of_its_own_frames_alarms_when_it_is_held(short: Channel) -> None:
    reference = short.statistics[0].reference
    assert sum(alarms(short, value) for value in reference) <= 1


def test_what_is_beyond_all_of_it_alarms_within_two_seconds(short: Channel) -> None:
    assert alarms(short, 6.0)
