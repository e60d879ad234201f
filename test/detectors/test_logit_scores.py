"""Logit scores against SciPy, against recorded scores of pytorch-ood, and on void and classifiers.

`data/pytorch_ood_scores.json` was written by pytorch-ood 0.4.0 with torch 2.15.0: the static
`score(logits)` methods of its detectors, and `odin_preprocessing` with `norm_std`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.colour_network import CLASSES, ColourNetwork, some_images, watched_network
from torch import nn

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.logit_scores.logit_scores import (
    Energy,
    MaxLogit,
    MaxSoftmax,
    PredictiveEntropy,
    VoidProbability,
    entropy,
    free_energy,
    uncertainty,
)
from offline_training.watched.base import Watched

RECORDED = json.loads(
    (Path(__file__).parents[1] / 'golden' / 'pytorch_ood_scores.json').read_text(encoding='utf-8')
)
LOGITS = arrays(np.float32, (2, 5, 2, 3), elements=st.floats(-1e4, 1e4, width=32)) | arrays(
    np.float32, (2, 5, 2, 3), elements=st.floats(-5, 5, width=32)
)
TEMPERATURES = st.floats(0.1, 1000)


@pytest.mark.parametrize(
    ('theirs', 'ours', 'offset'),
    [
        # pytorch-ood negates the largest probability, we take it from 1.
        ('MaxSoftmax', MaxSoftmax(), 1.0),
        ('MaxSoftmax, t=1.2', MaxSoftmax(temperature=1.2), 1.0),
        ('MaxLogit', MaxLogit(), 0.0),
        ('Entropy', PredictiveEntropy(), 0.0),
        ('EnergyBased', Energy(), 0.0),
        ('EnergyBased, t=2', Energy(temperature=2.0), 0.0),
    ],
)
def test_equal_to_pytorch_ood(theirs, ours, offset):
    expected = torch.tensor(RECORDED['scores'][theirs]) + offset
    actual = ours.score(torch.tensor(RECORDED['logits']))
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, temperature=TEMPERATURES)
def test_uncertainty_is_one_minus_the_largest_softmax(logits, temperature):
    p = scipy.special.softmax(logits.astype(float) / temperature, axis=1)
    actual = uncertainty(torch.from_numpy(logits), temperature).numpy()
    np.testing.assert_allclose(actual, 1 - p.max(axis=1), atol=2e-6)
    assert actual.min() >= 0
    assert actual.max() <= 1 - 1 / 5 + 1e-6


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS)
def test_entropy_is_that_of_the_softmax(logits):
    p = scipy.special.softmax(logits.astype(float), axis=1)
    actual = entropy(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(actual, scipy.stats.entropy(p, axis=1), atol=5e-6)
    assert actual.min() >= 0
    assert actual.max() <= np.log(5) + 1e-5


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, temperature=TEMPERATURES)
def test_energy_is_the_negated_logsumexp(logits, temperature):
    scaled = logits.astype(float) / temperature
    expected = -temperature * scipy.special.logsumexp(scaled, axis=1)
    actual = free_energy(torch.from_numpy(logits), temperature).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * max(1, temperature))


@pytest.mark.parametrize('score', [MaxSoftmax(), MaxLogit(), PredictiveEntropy(), Energy()])
def test_void_is_no_known_class(score):
    watched, images = watched_network(), some_images(unknown=True)
    before = score.score_map(watched, images)
    with torch.no_grad():
        watched.network.head.bias[CLASSES] = 100
    assert torch.equal(score.score_map(watched, images), before)


def test_void_probability():
    watched, images = watched_network(), some_images(unknown=True)
    p = scipy.special.softmax(watched(images).numpy(), axis=1)
    actual = VoidProbability().score_map(watched, images)
    np.testing.assert_allclose(actual, p[:, CLASSES:].sum(axis=1), atol=1e-6)
    without = Watched(ColourNetwork(), watched.normalize, CLASSES + 1)
    with pytest.raises(NotApplicableError, match='void channel'):
        VoidProbability().score_map(without, images)


@pytest.mark.parametrize('score', [MaxSoftmax(), MaxLogit(), PredictiveEntropy(), Energy()])
def test_a_classifier_is_a_map_of_one_pixel(score):
    watched, images = watched_network(classify=True), some_images(unknown=True)
    logits = watched(images)
    assert logits.shape == (3, CLASSES + 1)
    expected = score.score(logits[:, :CLASSES, None, None])[:, 0, 0]
    assert torch.equal(score.score_frame(watched, images), expected)


def test_frame_score_is_the_mean_of_the_highest_hundredth():
    class Given(nn.Module):
        def __init__(self, logits: torch.Tensor):
            super().__init__()
            self.weight = nn.Parameter(logits)

        def features(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return self.weight, {}

    logits = torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    watched = Watched(Given(logits), nn.Identity(), 3)
    actual = MaxLogit().score_frame(watched, torch.zeros(2, 20, 30, 3))
    flat = -logits.amax(dim=1).flatten(1).numpy()
    expected = np.sort(flat, axis=1)[:, -6:].mean(axis=1)
    np.testing.assert_allclose(actual.detach(), expected, rtol=1e-6)


@pytest.mark.parametrize('temperature', [0.0, -1.0, float('nan'), float('inf')])
@pytest.mark.parametrize('score', [MaxSoftmax, Energy])
def test_impossible_temperatures_are_refused(score, temperature):
    with pytest.raises(ValueError, match='temperature is'):
        score(temperature=temperature)
