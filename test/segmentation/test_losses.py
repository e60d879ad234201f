"""Losses against loops, scikit-learn and torchvision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from offline_training.data.base import VOID, DataError
from offline_training.data.frames import Frames
from offline_training.learning.session import QUIET
from offline_training.learning.settings import ConfigError
from offline_training.segmentation.class_weights import class_weights
from offline_training.segmentation.config import BackboneConfig, PhaseConfig
from offline_training.segmentation.losses import (
    focal_loss,
    segmentation_loss,
    soft_jaccard_loss,
)
from offline_training.segmentation.trainer import objective, phase_at, train_network
from offline_training.watched.normalization import InputConfig, Normalize

CLASSES = 4
seeds = st.integers(0, 999)


def example(seed, scale=2.0, ignored=0.3):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(scale * rng.standard_normal((2, CLASSES, 3, 5))).float()
    labels = torch.from_numpy(rng.integers(0, CLASSES, (2, 3, 5)))
    labels[torch.from_numpy(rng.random((2, 3, 5)) < ignored)] = 255
    labels[0, 0, 0] = 1
    weights = torch.from_numpy(rng.uniform(0.2, 3.0, CLASSES)).float()
    return logits, labels, weights


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_focal_loss_without_focus_is_cross_entropy(seed):
    logits, labels, weights = example(seed)
    expected = F.cross_entropy(logits, labels, weights, ignore_index=255)
    torch.testing.assert_close(focal_loss(logits, labels, weights, 0.0), expected)
    torch.testing.assert_close(segmentation_loss(logits, labels, weights), expected)


@settings(deadline=None, max_examples=40)
@given(seeds, st.floats(0.1, 5))
def test_focal_loss_equals_a_loop_over_pixels(seed, gamma):
    logits, labels, weights = example(seed)
    total = norm = 0.0
    for b, i, j in np.ndindex(*labels.shape):
        label = int(labels[b, i, j])
        if label == 255:
            continue
        values = logits[b, :, i, j].double().numpy()
        p = np.exp(values[label]) / np.exp(values).sum()
        weight = float(weights[label])
        total += weight * (1 - p) ** gamma * -math.log(p)
        norm += weight
    assert focal_loss(logits, labels, weights, gamma).item() == pytest.approx(
        total / norm, rel=1e-4
    )


def test_focal_loss_of_two_classes_is_that_of_torchvision():
    rng = np.random.default_rng(3)
    score = torch.from_numpy(rng.standard_normal((2, 1, 4, 5)))
    labels = torch.from_numpy(rng.integers(0, 2, (2, 4, 5)))
    logits = torch.cat([torch.zeros_like(score), score], dim=1)
    expected = sigmoid_focal_loss(
        score[:, 0], labels.double(), alpha=-1, gamma=2.0, reduction='mean'
    )
    torch.testing.assert_close(focal_loss(logits, labels, torch.ones(2).double()), expected)


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([0.0, 0.5, 2.0]), st.floats(0, 1))
def test_ignored_pixels_have_no_say(seed, gamma, jaccard_weight):
    logits, labels, weights = example(seed)
    other = torch.where((labels == 255)[:, None], -7.0, logits).requires_grad_()
    loss = segmentation_loss(other, labels, weights, gamma, jaccard_weight)
    torch.testing.assert_close(
        loss, segmentation_loss(logits, labels, weights, gamma, jaccard_weight)
    )
    loss.backward()
    assert not other.grad.movedim(1, -1)[labels == 255].any()


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0])
@pytest.mark.parametrize('scale', [1.0, 200.0])
def test_gradients_are_finite_also_where_the_network_is_certain(gamma, scale):
    logits, labels, weights = example(11, scale)
    logits.requires_grad_()
    focal_loss(logits, labels, weights, gamma).backward()
    assert torch.isfinite(logits.grad).all()
    nothing = torch.full_like(labels, 255)
    loss = focal_loss(logits, nothing, weights, gamma)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(logits.grad).all()


def test_gradient_of_the_focal_loss():
    logits, labels, weights = example(5)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: focal_loss(values, labels, weights.double(), 2.0), (logits,)
    )


def test_focus_moves_the_loss_from_easy_to_hard_pixels():
    logits = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]])  # right, wrong
    labels = torch.zeros(1, 1, 2, dtype=torch.int64)
    shares = []
    for gamma in (0.0, 1.0, 2.0):
        parts = [
            focal_loss(logits[..., k : k + 1], labels[..., k : k + 1], torch.ones(2), gamma)
            for k in (0, 1)
        ]
        shares.append((parts[0] / parts[1]).item())
    assert shares[0] > 20 * shares[1] > 400 * shares[2]


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_soft_jaccard_of_certain_predictions_is_one_minus_mean_iou(seed):
    logits, labels, _ = example(seed)
    predicted = logits.argmax(1)
    certain = 100.0 * F.one_hot(predicted, CLASSES).movedim(-1, 1).float()
    valid = labels != 255
    present = labels[valid].unique().tolist()
    iou = jaccard_score(
        labels[valid], predicted[valid], labels=present, average='macro', zero_division=0
    )
    assert soft_jaccard_loss(certain, labels).item() == pytest.approx(1 - iou, abs=1e-5)


@pytest.mark.parametrize('gamma', [0.0, 2.0])
@pytest.mark.parametrize('label', [VOID, 2])
def test_a_batch_in_which_nothing_counts_has_no_loss(gamma, label):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), label)
    loss = segmentation_loss(logits, labels, torch.tensor([1.0, 1.0, 0.0]), gamma)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_void_alone_gives_no_class_weights():
    with pytest.raises(DataError, match='only void'):
        class_weights([np.full((2, 2), VOID, np.uint8)], 3, 'enet')


def test_jaccard_is_added_with_its_weight():
    logits, labels, weights = example(8)
    for gamma in (0.0, 2.0):
        plain = segmentation_loss(logits, labels, weights, gamma)
        mixed = segmentation_loss(logits, labels, weights, gamma, 0.5)
        torch.testing.assert_close(mixed - plain, 0.5 * soft_jaccard_loss(logits, labels))


@pytest.mark.parametrize(('loss', 'gamma'), [('cross_entropy', 0.0), ('focal', 3.0)])
def test_training_uses_the_configured_loss(loss, gamma):
    torch.manual_seed(0)
    network = nn.Conv2d(3, CLASSES, 1)
    weights = np.array([1.0, 2.0, 0.5, 1.0], np.float32)
    config = BackboneConfig(loss=loss, focal_gamma=3.0, jaccard_weight=0.25)
    images, labels = torch.rand(2, 3, 4, 4), torch.randint(0, CLASSES, (2, 4, 4))
    expected = segmentation_loss(
        network(images), labels, torch.from_numpy(weights), gamma, jaccard_weight=0.25
    )
    loss = objective(network, nn.Identity(), torch.from_numpy(weights), config)
    torch.testing.assert_close(loss(images, labels), expected)


def test_impossible_focus_is_refused():
    with pytest.raises(ConfigError, match=r'backbone\.focal_gamma is -1'):
        BackboneConfig(focal_gamma=-1)


def test_a_validation_split_of_void_alone_is_named():
    frames = Frames([np.zeros((32, 32, 3), np.uint8)], [np.zeros((32, 32), np.uint8)])
    phase = PhaseConfig(crop_width=32, crop_height=32)
    with pytest.raises(DataError, match='other than void'):
        train_network(
            nn.Conv2d(3, CLASSES, 1),
            Normalize(InputConfig(32, 32)),
            frames,
            CLASSES,
            np.ones(CLASSES, np.float32),
            BackboneConfig(epochs=1, phases=(phase,)),
            lambda network: {'score': math.nan},
            QUIET,
        )


def test_phases_follow_one_another():
    phases = (PhaseConfig(share=0.75, crop_width=32), PhaseConfig(share=0.25, crop_width=64))
    config = BackboneConfig(phases=phases)
    places = [phase_at(progress, config).crop_width for progress in (0, 0.74, 0.75, 1.0)]
    assert places == [32, 32, 64, 64]
