"""Which bundles state a false-alarm rate, and what the others are told to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.channels import some_channel

from ros2_ood_monitor.bundle.certification import uncertified
from ros2_ood_monitor.bundle.manifest import Alarm, Certificate

CHANNEL = some_channel(Alarm(1.0, 4.0), sequences=5)


def test_five_sequences_that_state_a_rate_are_certified():
    assert uncertified({'object': CHANNEL}) is None


@pytest.mark.parametrize(
    ('certificate', 'reason'),
    [
        (Certificate(1.0, 1.0, 20.0, 4, 9.0), 'was calibrated on 4 of the 5 sequences'),
        (Certificate(1.0, None, 20.0, 1, 9.0), 'was calibrated on 1 of the 5 sequences'),
        (Certificate(1.0, None, 20.0, 7, 9.0), 'states no rate for its 7 sequences'),
        (Certificate(1.0, 1.0, 20.0, None, None), 'does not say on how many sequences'),
    ],
)
def test_one_channel_without_a_rate_is_enough_and_is_named(certificate, reason):
    channels = {'object': CHANNEL, 'image': replace(CHANNEL, certificate=certificate)}
    sentence = uncertified(channels)
    assert f'channel image {reason}' in sentence
    assert 'object' not in sentence
    assert "run 'ood-monitor calibrate'" in sentence
