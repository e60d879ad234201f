"""References, alarm rules and region thresholds from normal sequences."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_ood_monitor.benchmarks.alarm_budget import (
    CHANNELS,
    World,
    alarming,
    alarms_per_hour,
    main,
    simulate,
)
from ros2_ood_monitor.bundle.manifest import Alarm
from ros2_ood_monitor.calibration.certifying import certifiable_per_hour, certifying_sentence
from ros2_ood_monitor.calibration.channels import (
    AlarmBudget,
    calibrate,
    reachable_probability,
)
from ros2_ood_monitor.calibration.evidence import block_maxima, evidence
from ros2_ood_monitor.calibration.findings import findings, lowered
from ros2_ood_monitor.calibration.reference import frame_scores, pooled, thinned
from ros2_ood_monitor.calibration.region_thresholds import (
    Persistence,
    persisting,
    region_thresholds,
)
from ros2_ood_monitor.calibration.sequences import REGION_LEVEL, NormalSequence, parts
from ros2_ood_monitor.calibration.tails import fit_tail
from ros2_ood_monitor.inference.fusion import frame_score, tail_scale
from ros2_ood_monitor.supervision.cusum import Cusum

SLOW_WORLD = World(frame_rate=2.0)


def normal(count: int = 8, seconds: float = 300.0, seed: int = 0) -> list[NormalSequence]:
    return SLOW_WORLD.sequences(count, seconds, np.random.default_rng(seed))


def test_a_thinned_sample_keeps_its_largest_value_and_makes_no_p_value_smaller():
    values = np.random.default_rng(0).normal(size=50_001)
    sample = thinned(values, 999)
    assert len(sample) == 999
    assert sample[-1] == values.max()
    probes = np.linspace(-5, values.max(), 200)
    full = np.searchsorted(np.sort(values), probes) / values.size
    assert np.all(np.searchsorted(sample, probes) / 999 <= full + 1e-12)
    assert np.abs(np.searchsorted(sample, probes) / 999 - full).max() < 2e-3
    halves = pooled([values[:20_000], values[20_000:]], 999)
    assert np.abs(halves - sample).max() < 0.2


def test_scores_are_those_of_the_robot():
    rng = np.random.default_rng(0)
    reference = np.sort(rng.normal(size=500))
    values = np.concatenate([rng.normal(size=99), [reference[-1], 4.0, 50.0]])
    scale = tail_scale(reference)
    expected = [frame_score(float(value), reference, scale) for value in values]
    np.testing.assert_allclose(frame_scores(values, reference), expected, atol=1e-12)


def test_evidence_is_that_of_the_robot_until_the_alarm():
    scores = np.random.default_rng(1).exponential(0.6, (3, 4000))
    alarm = Alarm(1.0, 30.0)
    found = alarming(scores, alarm, 15.0)
    for row, alarms in zip(scores, found, strict=True):
        cusum, grown = Cusum(alarm, 15.0), evidence(row, 1.0)
        for score, sum_, active in zip(row, grown, alarms, strict=True):
            cusum.update(score)
            assert cusum.alarming == active
            assert cusum.evidence <= sum_ + 1e-9


def test_blocks_of_a_long_sequence_are_those_of_its_evidence():
    scores = np.random.default_rng(2).exponential(1.0, 150_010)
    whole = evidence(scores, 1.2)
    maxima = block_maxima(scores, 1.2, 90)
    assert len(maxima) == 1667
    assert maxima[-1] == pytest.approx(whole[1666 * 90 :].max())
    assert maxima[5] == pytest.approx(whole[450:540].max())


def test_a_single_bad_sequence_counts_twice():
    rng = np.random.default_rng(0)
    even = [rng.exponential(size=100) for _ in range(10)]
    uneven = [each.copy() for each in even]
    uneven[3] += 8.0
    assert fit_tail(even, 1.0).rate < 1.2 * 50
    tail = fit_tail(uneven, 1.0)
    assert tail.rate == pytest.approx(2 * 50 / 1.1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.6, 50), st.floats(1.5, 20))
def test_a_higher_budget_never_raises_a_threshold(seed, per_hour, factor):
    sequences = normal(seed=seed)
    strict = calibrate(sequences, CHANNELS, AlarmBudget(per_hour, 2.0))
    loose = calibrate(sequences, CHANNELS, AlarmBudget(per_hour * factor, 2.0))
    for name, channel in strict.items():
        for low, high in zip(loose[name].alarms, channel.alarms, strict=True):
            assert low.drift == high.drift
            assert low.threshold <= high.threshold + 1e-9
    assert loose['object'].regions.threshold <= strict['object'].regions.threshold
    assert strict['object'].regions.sensitive_threshold <= strict['object'].regions.threshold


def test_the_budget_is_shared_out_and_stated():
    channels = calibrate(normal(), CHANNELS, AlarmBudget(6.0, 2.0))
    assert sum(each.certificate.budget_per_hour for each in channels.values()) == pytest.approx(6)
    assert sum(each.certificate.certified_per_hour for each in channels.values()) == pytest.approx(
        6
    )
    assert all(each.certificate.sequences == 8 for each in channels.values())
    # The second one's slow rule would be as deaf as its fast one, so that it has only that.
    assert [len(each.alarms) for each in channels.values()] == [2, 1]
    for each in channels.values():
        assert len({alarm.drift for alarm in each.alarms}) == len(each.alarms)


def test_too_little_driving_states_what_it_certifies():
    channels = calibrate(normal(8, 90), CHANNELS, AlarmBudget(1.0, 2.0))
    stated = sum(each.certificate.certified_per_hour for each in channels.values())
    assert stated == pytest.approx(5.0)
    assert any('are certified' in sentence for sentence in findings(channels))


def test_fewer_than_five_sequences_certify_nothing():
    channels = calibrate(normal(4), CHANNELS, AlarmBudget(6.0, 2.0))
    assert not any(each.certificate.certified for each in channels.values())
    assert all(each.certificate.certified_per_hour is None for each in channels.values())
    assert sum('UNCERTIFIED' in sentence for sentence in findings(channels)) == 2


def test_a_lone_short_sequence_is_enough_to_run():
    (alarm, _) = calibrate(normal(1, 30), CHANNELS, AlarmBudget(1.0, 2.0))['object'].alarms
    assert math.isfinite(alarm.threshold)
    assert alarm.threshold >= 2.0


def test_what_is_missing_is_said_before_training():
    assert certifiable_per_hour(4, 100.0) is None
    assert certifiable_per_hour(5, 2.0) == 0.5
    assert '2 more sequences and 0.5 h more of driving' in certifying_sentence(3, 0.5, 1.0)
    assert certifying_sentence(9, 2.0, 1.0).endswith('certify the asked 1 false alarms per hour')


def test_regions_keep_their_shares_and_their_budget():
    levels = [each.values[REGION_LEVEL] for each in normal(10, 600)]
    frames = np.concatenate(levels)
    at = region_thresholds(levels, 0.0, 0.99, Persistence(), 12, 5 / 3, None)
    assert np.mean(frames >= at.sensitive) == pytest.approx(0.05, abs=1e-3)
    assert np.mean(frames >= at.strict) == pytest.approx(0.01, abs=1e-3)
    assert np.mean(frames >= at.strict) <= 0.01
    rarer = region_thresholds(levels, 0.0, 0.99, Persistence(), 12, 5 / 3, 1.0)
    assert rarer.strict > at.strict
    assert rarer.alarms_per_hour == 1.0
    unreachable = region_thresholds(levels, 0.0, at.strict, Persistence(), 12, 5 / 3, 1.0)
    assert unreachable.strict == at.strict
    assert unreachable.alarms_per_hour > 1.0


def test_an_object_in_every_second_frame_persists():
    levels = np.array([0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(
        persisting(levels, Persistence(3, 5)), [0, 0, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1]
    )


def test_weightless_maps_unreachable_thresholds_and_lowered_statistics_are_found():
    channel = CHANNELS['object']
    deaf = dataclasses.replace(channel.fusion.maps[0], name='deaf', weight=0.0)
    fusion = dataclasses.replace(channel.fusion, maps=(*channel.fusion.maps, deaf), bias=-9.0)
    channels = calibrate(
        normal(), {'object': dataclasses.replace(channel, fusion=fusion)}, AlarmBudget(9.0, 2.0)
    )
    assert any('deaf has weight 0' in each for each in findings(channels))
    assert channels['object'].regions.threshold <= reachable_probability(fusion)
    low = dataclasses.replace(fusion, bias=-10.5)
    channels = calibrate(
        normal(), {'object': dataclasses.replace(channel, fusion=low)}, AlarmBudget(9.0, 2.0)
    )
    assert any('the highest there is' in each for each in findings(channels))
    values = normal()[0].values['object']
    (sentence,) = lowered(normal(), {'salt': {'object': values - 2}, 'fog': {'object': values}})
    assert 'salt' in sentence


def test_parts_a_minute_apart_are_sequences():
    stamps = np.concatenate([np.arange(50.0), 200 + np.arange(30.0), 240 + np.arange(5.0)])
    assert list(parts(stamps)) == [slice(0, 50), slice(50, 85)]


def test_a_shifted_world_is_back_within_its_rate_after_calibration():
    rng = np.random.default_rng(3)
    world, budget = World(frame_rate=2.0), AlarmBudget(4.0, 2.0)
    first = calibrate(world.sequences(10, 720, rng), CHANNELS, budget)
    again = calibrate(world.sequences(10, 720, rng, 0.5), CHANNELS, budget)
    shifted = world.sequences(50, 720, rng, 0.5)
    assert alarms_per_hour(shifted, first, budget) > 1.5 * alarms_per_hour(shifted, again, budget)
    assert alarms_per_hour(shifted, again, budget) <= 4.0


def test_the_stated_rate_is_kept():
    rates, stated = simulate(World(frame_rate=2.0), 10, 2.0, 4.0, 4, 0, fresh_hours=10.0)
    assert stated == pytest.approx(4.0)
    assert 0 < np.mean(rates) <= 1.2 * stated
    assert simulate(World(frame_rate=2.0), 1, 0.3, 4.0, 1, 0, fresh_hours=1.0)[1] is None


def test_the_table_is_printed(capsys):
    assert (
        main(['--calibrations', '1', '--hours', '0.1', '--per-hour', '9', '--fresh-hours', '1'])
        == 0
    )
    assert 'above 2 x' in capsys.readouterr().out
