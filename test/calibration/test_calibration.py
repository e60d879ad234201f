"""Fusion weights, region threshold and alarm rule learned from normal driving."""

from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from offline_training.calibration.alarm import LEAST_THRESHOLD, calibrate_alarm
from offline_training.calibration.fusion import CalibrationError, fit_fusion
from offline_training.calibration.regions import region_threshold as find_threshold
from offline_training.data.base import SegmentationSample
from offline_training.data.frames import Frames
from offline_training.pipeline.config import Config
from offline_training.pipeline.stages.calibrate import _val_sequences
from ros2_ood_monitor.inference.fusion import frame_score, fused_logits, tail_scale
from ros2_ood_monitor.supervision.cusum import LEAST_FRAMES, Cusum


def test_fusion_prefers_the_informative_map_and_never_argues_an_anomaly_away():
    rng = np.random.default_rng(0)
    unknown = (rng.random(4000) < 0.2).astype(float)
    good = rng.normal(size=4000) + 4 * unknown
    misleading = rng.normal(size=4000) - 2 * unknown
    values = {'good': good, 'misleading': misleading, 'noise': rng.normal(size=4000)}
    normal = {name: value[unknown == 0] for name, value in values.items()}
    fusion = fit_fusion({name: (name, 0) for name in values}, normal, values, unknown)
    weights = {each.name: each.weight for each in fusion.maps}
    assert min(weights.values()) >= 0
    assert weights['good'] > 1
    assert weights['misleading'] == 0
    maps = {name: value.astype(np.float32).reshape(40, 100) for name, value in values.items()}
    calibrated = 1 / (1 + np.exp(-fused_logits(maps, fusion).ravel()))
    assert calibrated.mean() == pytest.approx(unknown.mean(), abs=0.01)


@pytest.mark.parametrize('unknown', [np.zeros(9), np.ones(9), np.zeros(0)])
def test_fusion_needs_unknown_pixels_and_others(unknown):
    values = {'map': np.arange(len(unknown), dtype=float)}
    with pytest.raises(CalibrationError, match='of the pixels that count show'):
        fit_fusion({'map': ('map', 0)}, {'map': np.arange(9.0)}, values, unknown)


def drives(count: int, frames: int, seed: int) -> list[list[float]]:
    """Autocorrelated statistics, as video gives them."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        x, drive = rng.normal(), []
        for _ in range(frames):
            x = 0.9 * x + np.sqrt(1 - 0.81) * rng.normal()
            drive.append(float(x))
        result.append(drive)
    return result


def alarmed_blocks(scores, sample: list[list[float]]) -> float:
    fired = []
    scale = tail_scale(scores.reference)
    for drive in sample:
        cusum = Cusum(scores.alarm, scores.certificate.frame_rate)
        alarms = []
        for statistic in drive:
            cusum.update(frame_score(statistic, scores.reference, scale))
            alarms.append(cusum.alarming)
        fired.append(any(alarms))
    return float(np.mean(fired))


@pytest.mark.slow
def test_false_alarms_on_new_drives_keep_the_budget():
    # 400 blocks of 6 s, one alarm in 20 blocks asked for: 30 per hour.
    scores = calibrate_alarm(drives(400, 90, 1), 15.0, 1.5, 6.0, budget_per_hour=30.0)
    assert scores.certificate.certified_per_hour == pytest.approx(30.0)
    assert alarmed_blocks(scores, drives(400, 90, 2)) <= 0.1


def test_too_little_driving_says_what_it_can_certify():
    scores = calibrate_alarm(drives(9, 90, 1), 15.0, 1.5, 6.0, budget_per_hour=1.0)
    assert scores.certificate.certified_per_hour == pytest.approx(600 / 10)
    assert (scores.certificate.sequences, scores.certificate.hours) == (9, 9 * 6 / 3600)
    assert scores.alarm.threshold >= LEAST_THRESHOLD
    assert list(scores.reference) == sorted(scores.reference)


def test_a_lone_drive_is_enough_to_run():
    scores = calibrate_alarm(drives(1, 101, 1), 15.0, 1.5, 6.0, budget_per_hour=1.0)
    assert np.isfinite(scores.alarm.threshold)


def test_an_anomaly_fires_within_half_a_second():
    scores = calibrate_alarm(drives(20, 90, 1), 15.0, None, 6.0, budget_per_hour=1.0)
    cusum = Cusum(scores.alarm, scores.certificate.frame_rate)
    scale = tail_scale(scores.reference)
    frames = 0
    while not cusum.alarming:
        cusum.update(frame_score(50.0, scores.reference, scale))
        frames += 1
    assert LEAST_FRAMES <= frames <= 7


def test_region_threshold_rises_until_normal_frames_are_quiet():
    quiet = np.full((20, 20), 0.1, np.float32)
    noisy = quiet.copy()
    noisy[:10, :10] = 0.85
    assert find_threshold([quiet] * 99, 0.5, 20) == 0.5
    assert find_threshold([quiet] * 9 + [noisy], 0.5, 20) == 0.9


@pytest.mark.parametrize(('sequences', 'warned'), [('aabb', False), (['', ''], True)])
def test_frames_of_no_known_sequence_are_warned_about(sequences, warned, capsys):
    image = np.zeros((4, 4, 3), np.uint8)
    samples = [SegmentationSample(image, image[..., 0], '', each) for each in sequences]
    context = SimpleNamespace(
        val_data=Frames.of(samples), console=Console(width=200), config=Config()
    )
    indices = [index for sequence in _val_sequences(context) for index in sequence]
    assert indices == list(range(len(sequences)))
    assert ('which frames are of one sequence' in capsys.readouterr().out) == warned
