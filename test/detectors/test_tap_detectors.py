"""Light observer and dense flow under the contract: what they score, and how they are trained."""

from __future__ import annotations

import copy
import math
import os
import signal
from functools import cache

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
from torch import nn

from offline_training.data.frames import Frames
from offline_training.detectors.dense_flow import flow_training
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.dense_flow.flow_training import FlowConfig
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.detectors.observer.observer import Observer
from offline_training.detectors.observer.observer_training import (
    ObserverConfig,
    build_observer,
    train_observer,
)
from offline_training.learning.session import QUIET, Session
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import StorageError

FRAMES = normal_frames(4)
HEAD = {'epochs': 3, 'width': 8, 'batch_size': 2, 'attack_share': 0.5}
FLOW = {'channels': 5, 'hidden': 8, 'layers': 2, 'epochs': 3, 'batch_size': 64}


def nothing(*_: object) -> None:
    """Advance no bar."""


@cache
def head() -> LightObserver:
    return LightObserver(**HEAD).fit(watched_network(), FRAMES)


def test_the_targets_are_the_two_logits_and_the_higher_of_them():
    watched, images = watched_network(), some_images(unknown=True)
    scores = {}
    for target in ('unknown', 'error', 'both'):
        detector = LightObserver(target=target, **HEAD)
        detector.adopt(head().state_dict())
        scores[target] = detector.score_map(watched, images)
        assert scores[target].shape == (len(images), HEIGHT // 4, WIDTH // 4)
    assert not torch.equal(scores['unknown'], scores['error'])
    assert torch.equal(scores['both'], torch.maximum(scores['unknown'], scores['error']))


def test_confidence_adds_the_log_odds_of_the_softmax():
    watched, images = watched_network(), some_images(unknown=True)
    detector = LightObserver(confidence=True, **HEAD)
    detector.adopt(head().state_dict())
    chance = watched(images)[:, :CLASSES].softmax(dim=1).amax(dim=1).double()
    own = nn.functional.interpolate(
        head().score_map(watched, images)[:, None], size=chance.shape[-2:], mode='bilinear'
    )[:, 0]
    odds = ((1 - chance) / chance).clamp_min(1e-5).log().float()
    torch.testing.assert_close(detector.score_map(watched, images), own + odds, atol=1e-2, rtol=0)


def test_head_detector_and_shared_training_learn_the_same():
    watched, config = watched_network(), ObserverConfig(**HEAD)
    torch.manual_seed(config.seed)
    observer = build_observer(watched.network, config, HEIGHT, WIDTH)
    learned = train_observer(observer, watched, FRAMES, config, QUIET)
    assert len(learned.history) == config.epochs
    assert learned.history[-1]['step'] == 6
    with torch.no_grad():
        expected = observer(watched.features(some_images(unknown=True))[1])[:, 0]
    assert torch.equal(head().score_map(watched, some_images(unknown=True)), expected)


def test_an_interrupted_training_of_the_head_continues_to_the_same_weights(tmp_path):
    watched, config = watched_network(), ObserverConfig(**{**HEAD, 'attack_share': 0.5})
    whole = build_observer(watched.network, config, HEIGHT, WIDTH)
    broken, resumed = copy.deepcopy(whole), copy.deepcopy(whole)
    train_observer(whole, watched, FRAMES, config, QUIET)
    session = Session(tmp_path / 'observer.pt')

    class CtrlC(Frames):
        left = 10

        def __getitem__(self, index):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        train_observer(broken, watched, CtrlC(FRAMES.images, FRAMES.labels), config, session)
    assert 0 < torch.load(session.checkpoint, weights_only=True)['position']['step'] < 6
    train_observer(resumed, watched, FRAMES, config, session)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_density_is_that_of_the_flow_on_the_whitened_taps():
    watched, images = watched_network(), some_images(unknown=True)
    detector = DenseFlowDensity(taps=['late'], **FLOW).fit(watched, FRAMES)
    flow = detector.build(watched, HEIGHT, WIDTH)
    flow.load_state_dict(
        {name.replace('/', '.'): value for name, value in detector.weights.named_buffers()}
    )
    with torch.no_grad():
        x = flow.whitening(watched.features(images)[1]['late'])
        log_density = flow.flow.log_prob(x, flow.position.expand(len(x), -1, -1, -1))
    # The constant of the Gaussian is left out: it says nothing about the pixel.
    expected = -log_density / FLOW['channels'] - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(detector.score_map(watched, images), expected)


def test_the_flow_learns_from_correctly_segmented_pixels_alone():
    watched = watched_network()
    flow = flow_training.build_flow(watched.network, FlowConfig(**FLOW), HEIGHT, WIDTH)
    image, truth = FRAMES.images[0], FRAMES.labels[0]
    wrong = ((truth + 1) % CLASSES).astype(np.uint8)
    wrong[: HEIGHT // 2] = truth[: HEIGHT // 2]
    samples, where = flow_training.collect(watched, flow, Frames([image], [wrong]), 0, nothing)
    everything, _ = flow_training.collect(watched, flow, Frames([image], [truth]), 0, nothing)
    assert 0 < len(samples) < len(everything)
    assert where[:, 0].max() < 0, 'the lower half has wrong labels'


def test_the_flow_lowers_the_loss():
    watched, config = watched_network(), FlowConfig(**{**FLOW, 'epochs': 8, 'learning_rate': 2e-2})
    flow = flow_training.build_flow(watched.network, config, HEIGHT, WIDTH)
    samples, where = flow_training.collect(watched, flow, FRAMES, 0, nothing)
    flow.whitening.fit(samples)
    learned = flow_training.train_flow(flow, samples, where, config, QUIET)
    losses = [row['loss'] for row in learned.history]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize('kind', [LightObserver, DenseFlowDensity])
def test_names_of_taps_may_come_as_lists_and_are_checked(kind):
    settings = HEAD if kind is LightObserver else FLOW
    assert kind(taps=['late']).settings == kind(taps=('late',)).settings
    with pytest.raises(StorageError, match=r'taps names deep .* early, late'):
        kind(taps=['deep'], **settings).fit(watched_network(), FRAMES)


@pytest.mark.parametrize(
    ('kind', 'settings', 'reason'),
    [
        (LightObserver, {'target': 'void'}, 'target'),
        (LightObserver, {'width': 2}, 'width'),
        (DenseFlowDensity, {'layers': 0}, 'layers'),
    ],
)
def test_wrong_settings_are_named(kind, settings, reason):
    with pytest.raises(ValueError, match=reason):
        kind(**settings)


def test_more_dimensions_than_channels_are_refused():
    with pytest.raises(ConfigError, match='late have 12 channels'):
        DenseFlowDensity().fit(watched_network(), FRAMES)


def test_images_of_another_size_than_the_fitted_are_scored():
    watched = watched_network()
    flow = DenseFlowDensity(**FLOW).fit(watched, FRAMES)
    larger = Frames([np.zeros((64, 96, 3), np.uint8)], [np.zeros((64, 96), np.uint8)])
    images, _ = next(larger.batches(1, watched.device))
    assert flow.score_map(watched, images).shape == (1, 16, 24)
    assert head().score_map(watched, images).shape == (1, 16, 24)


@pytest.mark.timeout(60)
def test_a_fault_while_batches_are_drawn_ends_the_training():
    watched, config = watched_network(), ObserverConfig(**HEAD)
    observer = build_observer(watched.network, config, HEIGHT, WIDTH)
    labels = [*FRAMES.labels[:-1], FRAMES.labels[-1][:-2]]
    with pytest.raises(ValueError, match='shape'):
        train_observer(observer, watched, Frames(FRAMES.images, labels), config, QUIET)


def test_a_stride_that_does_not_divide_the_image_is_named():
    network = watched_network().network
    features = network.features

    def odd(x):
        logits, taps = features(x)
        size = (x.shape[2] // 5, x.shape[3] // 5)
        return logits, {**taps, 'odd': nn.functional.interpolate(taps['late'], size)}

    network.features = odd
    with pytest.raises(ConfigError, match='multiples of 5'):
        flow_training.build_flow(network, FlowConfig(taps=('odd',), channels=2), HEIGHT, WIDTH)


def test_the_shape_is_built_anew_on_another_device(monkeypatch):
    watched, built = watched_network(), []
    detector = head()
    build = detector.build
    monkeypatch.setattr(detector, 'build', lambda *args: built.append(1) or build(*args))
    detector._shape = None
    first = detector.network(watched, some_images(unknown=True))
    assert detector.network(watched, some_images(unknown=True)) is first
    elsewhere = torch.device('meta')
    monkeypatch.setattr(type(watched), 'device', property(lambda _: elsewhere))
    monkeypatch.setattr(detector, 'build', lambda *args: built.append(1) or copy.deepcopy(first))
    assert detector.network(watched, some_images(unknown=True)) is not first
    assert len(built) == 2
    detector._shape = None


def test_a_head_needs_a_tap_as_fine_as_the_map():
    with pytest.raises(ConfigError, match='coarse are coarser than the map'):
        Observer({'coarse': (12, 8)})
