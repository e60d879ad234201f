"""The detectors that weight several maps: the monitor, and where the segmentation is wrong."""

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

from offline_training.compare import fitting
from offline_training.data.frames import Frames
from offline_training.detectors.error_fusion.error_fusion import ErrorFusion
from offline_training.detectors.fused.monitor import SOURCES, Monitor
from offline_training.detectors.logit_scores.logit_scores import Energy
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning.settings import ConfigError
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


def fusion_of(*weights):
    """A fusion of the four maps with these weights."""
    scales = ((-3.0, 2.0), (1.0, 0.01), (0.1, 0.5), (0.2, 1.5))
    return Fusion(
        tuple(
            FusedMap(name, *source, *scale, weight)
            for (name, source), scale, weight in zip(SOURCES.items(), scales, weights, strict=True)
        ),
        -4.0,
    )


def test_the_monitor_weights_maps_as_the_robot_does(monitor):
    fusion = fusion_of(0.3, 0.9, 1.5, 0.0)
    monitor.set_fusion(fusion)
    assert monitor.fusion == fusion
    images = some_images(unknown=True, count=2)
    *_, maps = monitor.stream(WATCHED, images.numpy())
    # The density is far outside: the limit of a standardised map is at work.
    assert np.abs((maps['density'] - 1.0) / 0.01).max() > 10
    expected = fused_logits(maps, fusion)
    np.testing.assert_allclose(monitor.score_map(WATCHED, images)[1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ('weights', 'own'),
    [
        ((0.0, 0.9, 1.5, 0.0), []),
        ((0.3, 0.0, 1.5, 0.2), ['density']),
        ((0.3, 0.9, 0.0, 0.2), []),
        ((0.3, 0.9, 0.0, 0.0), ['unknown']),
        ((0.3, 0.0, 0.0, 0.0), ['density', 'unknown']),
    ],
)
def test_flow_and_observer_are_always_heard(monitor, weights, own):
    fusion = fusion_of(*weights)
    monitor.set_fusion(fusion)
    channels = monitor.channels
    assert list(channels) == ['object', *own]
    assert channels['object'] == fusion
    for name in own:
        assert channels[name].bias == 0
        (only,) = channels[name].maps
        assert (only.name, only.weight) == (name, 1.0)
        (fused,) = (each for each in fusion.maps if each.name == name)
        assert (only.tensor, only.mean, only.std) == (fused.tensor, fused.mean, fused.std)


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
    errors.fit_weights(WATCHED, mislabelled())
    assert errors.bias.shape == (CLASSES + 1,)
    assert errors.bias[0] > errors.bias[1:CLASSES].max() + 1
    images = some_images(unknown=False, count=3)
    predicted = WATCHED(images).argmax(dim=1)
    score = errors.score_map(WATCHED, images)
    assert score.shape == predicted.shape
    assert score[predicted == 0].mean() > score[predicted == 1].mean() + 1


def test_the_score_is_the_log_odds_of_an_error(errors):
    frames = mislabelled(32)
    errors.fit_weights(WATCHED, frames)
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
        errors.fit_weights(WATCHED, void)


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
    monkeypatch.setattr(errors, 'fit_weights', record('regression'))
    errors.fit(WATCHED, frames)
    assert not set(seen['observer']) & set(seen['regression'])
    assert sorted(seen['observer'] + seen['regression']) == list(range(16))


@pytest.fixture
def run(tmp_path, errors):
    """What the comparison sees of a finished run: an observer, and frames to validate on."""
    errors.observer.save(tmp_path / 'observer.safetensors')
    return SimpleNamespace(
        output_dir=tmp_path, device=torch.device('cpu'), val_data=mislabelled(16), train_data=None
    )


def test_with_a_run_the_regression_is_fitted_on_its_validation_frames(errors, run, monkeypatch):
    detector, given = ErrorFusion(observer={'width': 16}), []
    monkeypatch.setattr(detector, 'fit_weights', lambda _, frames: given.append(frames))
    fitting._take_from_run('error_fusion', detector, run, WATCHED)
    assert given == [run.val_data]
    for name, value in errors.observer.state_dict().items():
        assert torch.equal(detector.observer.state_dict()[name], value)


def test_a_row_takes_from_a_run_what_it_was_trained_with_and_no_other(run):
    # How the logits are read is not trained; how wide the head is, is.
    same = LightObserver(target='both', width=16)
    fitting._take_from_run('observer', same, run, WATCHED)
    assert same.settings['target'] == 'both'
    assert same.fitted
    with pytest.raises(ConfigError, match=r'detectors.observer asks for .*width=24'):
        fitting._take_from_run('observer', LightObserver(width=24), run, WATCHED)
    assert not fitting._files_of_run(Energy())
