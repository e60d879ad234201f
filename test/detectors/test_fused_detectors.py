"""The detectors that weigh several maps: the monitor, and where the segmentation is wrong."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.colour_network import (
    CLASSES,
    HEIGHT,
    WIDTH,
    normal_frames,
    some_images,
    watched_network,
)

from offline_training.compare import run_detectors
from offline_training.data.frames import Frames
from offline_training.detectors.error_fusion.error_fusion import ErrorFusion
from offline_training.detectors.fused.monitor import Monitor
from offline_training.watched.graphs import SOURCES
from ros2_ood_monitor.bundle.manifest import FusedMap, Fusion
from ros2_ood_monitor.inference.fusion import fused_logits

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
    scales = ((-3.0, 2.0, 0.3), (1.0, 0.01, 0.9), (0.1, 0.5, 1.5), (0.2, 1.5, 0.0))
    fusion = Fusion(
        tuple(
            FusedMap(name, *source, *scale)
            for (name, source), scale in zip(SOURCES.items(), scales, strict=True)
        ),
        -4.0,
    )
    monitor.set_fusion(fusion)
    images = some_images(unknown=True, count=1)
    maps = {name: value[0].numpy() for name, value in monitor.maps(WATCHED, images).items()}
    expected = fused_logits(maps, fusion)
    # The density is far outside: the limit of a standardised map is at work.
    assert np.abs((maps['density'] - 1.0) / 0.01).max() > 10
    np.testing.assert_allclose(monitor.score_map(WATCHED, images)[0], expected, rtol=1e-4)


def test_the_monitor_refuses_a_fusion_of_other_maps(monitor):
    with pytest.raises(ValueError, match='density'):
        monitor.set_fusion(Fusion((FusedMap('unknown', 'observer', 0, 0.0, 1.0, 1.0),), 0.0))


def mislabelled(count=16):
    """Frames whose class 0 is labelled as class 1 all over: there the network is always wrong."""
    frames = normal_frames(count)
    return Frames(
        frames.images, [np.where(own == 0, 1, own).astype(np.uint8) for own in frames.labels]
    )


def test_a_class_that_is_often_wrong_scores_higher(errors):
    errors.fit_regression(WATCHED, mislabelled())
    assert errors.bias.shape == (CLASSES + 1,)
    assert errors.bias[0] > errors.bias[1:CLASSES].max() + 1
    images = some_images(unknown=False, count=3)
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
    # Half of the frames had objects pasted in, so it expects somewhat more errors.
    assert float(probability.mean()) == pytest.approx(float(wrong.mean()), abs=0.1)
    assert probability[wrong == 1].mean() > 0.7
    assert probability[wrong == 0].mean() < 0.2


def test_there_must_be_right_and_wrong_to_learn_from(errors):
    frames = normal_frames(2)
    void = Frames(frames.images, [np.full_like(own, 255) for own in frames.labels])
    with pytest.raises(ValueError, match='only mistakes'):
        errors.fit_regression(WATCHED, void)


def test_the_regression_sees_no_frame_of_the_observer(errors, monkeypatch):
    frames = mislabelled(16)
    names = {id(image): index for index, image in enumerate(frames.images)}
    seen = {}

    def record(part):
        def fit(watched, given, *session):
            seen[part] = [names[id(image)] for image in given.images]
            for image, own in zip(given.images, given.labels, strict=True):
                assert own is frames.labels[names[id(image)]]

        return fit

    monkeypatch.setattr(errors.observer, 'fit', record('observer'))
    monkeypatch.setattr(errors, 'fit_regression', record('regression'))
    errors.fit(WATCHED, frames)
    assert not set(seen['observer']) & set(seen['regression'])
    assert sorted(seen['observer'] + seen['regression']) == list(range(16))


def test_with_a_run_the_regression_is_fitted_on_its_validation_frames(errors, monkeypatch):
    frames = mislabelled(16)
    given = []
    run = SimpleNamespace(
        val_data=frames,
        train_data=None,
    )
    monkeypatch.setattr(run_detectors, '_take_observer', lambda *_: None)
    monkeypatch.setattr(errors, 'fit_regression', lambda _, frames: given.append(frames))
    assert run_detectors.take_from_run('error_fusion', errors, run, WATCHED)
    assert given[0] is run.val_data
