from __future__ import annotations

import numpy as np
import pytest
from support.tiny_bundle import HEIGHT, WIDTH, anomaly_image, normal_image

from offline_training.data.base import DataError
from offline_training.measuring.events import Approach, alarms, events, report
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.runner import Runner

FPS = 10.0
APPROACH = Approach(start=20, end=4, speed=4, before=0.5, lateral=0.1)
DRIVE = [normal_image(seed) for seed in range(60)]


@pytest.fixture(scope='module')
def runner(tiny_bundle):
    with Runner(ModelBundle.load(tiny_bundle), 'onnxruntime') as runner:
        yield runner


def cutout(*colour: int) -> np.ndarray:
    found = np.full((40, 40, 4), 255, np.uint8)
    found[..., :3] = colour
    return found


def test_a_glaring_object_is_found_on_the_way_and_distance_and_delay_agree(runner):
    found = events(runner, DRIVE, [cutout(255, 0, 255)], 3, APPROACH, FPS, seed=1)
    assert len(found) == 3
    for each in found:
        assert each.false_alarm is None
        for level in ('caution', 'alert'):
            delay = each.delay[level]
            assert delay is not None
            assert delay >= 0.2
            assert each.distance[level] == pytest.approx(20 - 4 * delay)
        assert each.delay['caution'] <= each.delay['alert']
    assert len({each.first_frame for each in found}) > 1


def test_an_object_that_looks_like_the_world_is_not_found(runner):
    grey = cutout(128, 128, 128)
    (found,) = events(runner, DRIVE, [grey], 1, APPROACH, FPS, seed=1)
    assert found.distance == {'caution': None, 'alert': None}
    summary = report([found], APPROACH, FPS, 1)
    assert summary['alert']['found'] == 0
    assert summary['alert']['median_distance_m'] is None


def test_an_alarm_before_the_object_is_no_find(runner):
    alarming = [anomaly_image(seed) for seed in range(60)]
    (found,) = events(runner, alarming, [cutout(255, 0, 255)], 1, APPROACH, FPS, seed=1)
    assert found.false_alarm is not None
    summary = report([found], APPROACH, FPS, 1)
    assert summary['false_alarms_before'] == 1
    assert summary['caution']['found'] == 0


def test_alarms_of_the_drive_itself_are_told_with_their_time(runner):
    assert alarms(runner, DRIVE, FPS) == []
    broken = [*DRIVE[:20], *(anomaly_image(seed) for seed in range(5)), *DRIVE[20:]]
    (when,) = alarms(runner, broken, FPS)
    assert 2.0 < when <= 2.4


def test_the_same_seed_gives_the_same_events_and_every_assumption_is_stated(runner):
    objects = [cutout(255, 0, 255), cutout(0, 255, 0), cutout(128, 128, 128)]
    first, second = (
        report(events(runner, DRIVE, objects, 4, APPROACH, FPS, seed=5), APPROACH, FPS, 5)
        for _ in range(2)
    )
    assert first == second
    # Every object is used before one is used again.
    assert {each['object'] for each in first['events'][:3]} == {0, 1, 2}
    assert set(first['assumed']) == {
        'focal', 'camera_height', 'horizon', 'speed', 'start', 'end', 'height', 'lateral',
        'before', 'frame_rate', 'seed',
    }  # fmt: skip


def test_a_drive_too_short_for_an_approach_is_refused_in_one_sentence(runner):
    with pytest.raises(DataError, match='the drive has 5 frames'):
        events(runner, DRIVE[:5], [cutout(255, 0, 255)], 1, APPROACH, FPS, seed=0)


def test_the_camera_of_an_approach_follows_the_image():
    camera = Approach(horizon=0.25).camera(DRIVE[0])
    assert (camera.focal, camera.horizon, camera.centre) == (WIDTH, HEIGHT / 4, WIDTH / 2)
    assert Approach(focal=99.0).camera(DRIVE[0]).focal == 99
