"""The detectors that weigh several maps: the monitor, and where the segmentation is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from colour_network import CLASSES, HEIGHT, WIDTH, normal_frames, pictures, watched_network

from offline_training.detectors.base import Frames
from offline_training.detectors.error_fusion import ErrorFusion
from offline_training.detectors.monitor import Monitor
from offline_training.graphs import MAPS
from ros2_ood_monitor.fusion import fused_logits
from ros2_ood_monitor.manifest import Fusion

WATCHED = watched_network()
FLOW = {'channels': 12, 'hidden': 8, 'layers': 2}


def with_random_weights(detector):
    torch.manual_seed(0)
    for name in ('observer', 'flow'):
        part = getattr(detector, name, None)
        if part is not None:
            part.keep(part.build(WATCHED, HEIGHT, WIDTH))
    return detector


@pytest.fixture
def monitor():
    return with_random_weights(Monitor(observer={'width': 16}, flow=FLOW))


@pytest.fixture
def errors():
    return with_random_weights(ErrorFusion(observer={'width': 16}))


def test_the_monitor_weighs_maps_as_the_robot_does(monitor):
    fusion = Fusion(MAPS, (-3.0, 1.0, 0.1, 0.2), (2.0, 0.01, 0.5, 1.5), (0.3, 0.9, 1.5, 0.0), -4.0)
    monitor.set_fusion(fusion)
    images = pictures(unknown=True, count=1)
    maps = {name: value[0].numpy() for name, value in monitor.maps(WATCHED, images).items()}
    expected = fused_logits(maps, fusion)
    # The density is far outside: the limit of a standardised map is at work.
    assert np.abs((maps['density'] - 1.0) / 0.01).max() > 10
    np.testing.assert_allclose(monitor.score_map(WATCHED, images)[0], expected, rtol=1e-4)


def test_the_monitor_refuses_a_fusion_of_other_maps(monitor):
    with pytest.raises(ValueError, match='density'):
        monitor.set_fusion(Fusion(('unknown',), (0.0,), (1.0,), (1.0,), 0.0))


def mislabelled(count=16):
    """Frames whose class 0 is labelled as class 1 all over: there the network is always wrong."""
    frames = normal_frames(count)
    return Frames(frames.images, [np.where(own == 0, 1, own).astype(np.uint8)
                                  for own in frames.labels])


def test_a_class_that_is_often_wrong_scores_higher(errors):
    errors.fit_regression(WATCHED, mislabelled())
    assert errors.bias.shape == (CLASSES + 1,)
    assert errors.bias[0] > errors.bias[1:CLASSES].max() + 1
    images = pictures(unknown=False, count=3)
    predicted = WATCHED(images).argmax(dim=1)
    score = errors.score_map(WATCHED, images)
    assert score.shape == predicted.shape
    assert score[predicted == 0].mean() > score[predicted == 1].mean() + 1


def test_the_score_is_the_log_odds_of_an_error(errors):
    frames = mislabelled(32)
    errors.fit_regression(WATCHED, frames)
    images = torch.from_numpy(np.stack(frames.images))
    labels = torch.from_numpy(np.stack(frames.labels))
    wrong = (WATCHED(images).argmax(dim=1) != labels).float()
    probability = errors.score_map(WATCHED, images).sigmoid()
    # Fitted on half as many frames with objects pasted in, so it expects somewhat more errors.
    assert float(probability.mean()) == pytest.approx(float(wrong.mean()), abs=0.1)
    assert probability[wrong == 1].mean() > 0.7
    assert probability[wrong == 0].mean() < 0.2


def test_there_must_be_right_and_wrong_to_learn_from(errors):
    frames = normal_frames(2)
    void = Frames(frames.images, [np.full_like(own, 255) for own in frames.labels])
    with pytest.raises(ValueError, match='only mistakes'):
        errors.fit_regression(WATCHED, void)
