from __future__ import annotations

import numpy as np
import pytest
from support.tiny_bundle import anomaly_image, normal_image

from offline_training.measuring.held_views import COPIES, hold, noisy
from offline_training.measuring.simulated_camera import SimulatedCamera
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.runner import Runner


@pytest.fixture(scope='module')
def runner(tiny_bundle):
    with Runner(ModelBundle.load(tiny_bundle), 'onnxruntime') as runner:
        yield runner


def test_a_held_anomaly_is_told_with_time_state_and_cause(runner):
    raised = hold(runner, anomaly_image(), 2.0, seed=3)
    # Its region persists at the third frame of ten per second; evidence of 0.3 per frame
    # reaches the threshold of 3 at the tenth.
    assert raised.at_least(State.CAUTION) == pytest.approx(0.2)
    assert raised.at_least(State.ALERT) == pytest.approx(0.9)
    assert 'unknown_view' in raised.codes
    assert raised.worst() == State.ALERT
    assert raised.worst(frozenset({'black'})) == State.NOMINAL


def test_a_held_normal_view_stays_nominal_and_is_not_frozen(runner):
    # Frozen needs 1 s of equal images.
    raised = hold(runner, normal_image(40), 5.0, seed=3)
    assert raised.states.keys() == {State.NOMINAL}
    assert raised.causes == {}


def test_a_camera_that_repeats_one_image_is_called_frozen(runner):
    camera = SimulatedCamera(runner, 10.0)
    for _ in range(50):
        state = camera.show(normal_image())
    assert state == State.FAULT
    assert camera.raised.codes == ('frozen',)


def test_a_view_is_scored_once_for_each_copy(runner, monkeypatch):
    scored = []
    infer = runner.infer
    monkeypatch.setattr(runner, 'infer', lambda frame: scored.append(1) or infer(frame))
    hold(runner, normal_image(), 2.0, seed=0)
    assert len(scored) == COPIES
    scored.clear()
    hold(runner, anomaly_image(), 2.0, seed=0, until_alarm=True)
    assert len(scored) == 3


def test_the_noise_of_a_sensor_leaves_grey_grey():
    grey = np.repeat(np.arange(48 * 64, dtype=np.uint8).reshape(48, 64, 1), 3, axis=2)
    found = noisy(grey, np.random.default_rng(0))
    assert (found == found[..., :1]).all()
    assert 0.5 < np.std(found[..., 0].astype(float) - grey[..., 0]) < 30
    coloured = noisy(anomaly_image(), np.random.default_rng(0))
    assert not (coloured == coloured[..., :1]).all()
