"""ODIN: the step goes the right way by the right amount, the score is the recorded one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from support.colour_network import CLASSES, some_images, watched_network
from torch import Tensor, nn

from offline_training.detectors.logit_scores.logit_scores import MaxSoftmax
from offline_training.detectors.logit_scores.odin import Odin
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize

RECORDED = json.loads(
    (Path(__file__).parents[1] / 'golden' / 'pytorch_ood_scores.json').read_text(encoding='utf-8')
)['odin']


class OneConvolution(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.conv = nn.Conv2d(3, len(bias), 3, padding=1)
        self.conv.load_state_dict({'weight': weight, 'bias': bias})

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.conv(x), {}


def certainty(watched: Watched, images: Tensor, temperature: float) -> Tensor:
    """Sum over the pixels of the log of the largest softmax, (B,)."""
    scaled = watched(images)[:, :CLASSES].double() / temperature
    return scaled.log_softmax(dim=1).amax(dim=1).sum(dim=(1, 2))


def test_equal_to_pytorch_ood():
    # Recorded by pytorch-ood 0.4.0; see test_logit_scores.py.
    network = OneConvolution(torch.tensor(RECORDED['weight']), torch.tensor(RECORDED['bias']))
    config = InputConfig(mean=tuple(RECORDED['mean']), std=tuple(RECORDED['std']))
    watched = Watched(network, Normalize(config), len(RECORDED['bias']))
    detector = Odin(temperature=RECORDED['temperature'], epsilon=RECORDED['epsilon'])
    actual = detector.score_map(watched, torch.tensor(RECORDED['images']))
    # pytorch-ood negates the largest probability, we take it from 1.
    assert (actual - torch.tensor(RECORDED['scores']) - 1).abs().max() <= 1e-5


@pytest.mark.parametrize('temperature', [1.0, 10.0, 1000.0])
def test_the_step_raises_certainty(temperature):
    watched, images = watched_network(), some_images(unknown=True)
    detector = Odin(temperature=temperature, epsilon=0.002)
    changed = detector.perturbed(watched, images)
    step = (changed - images).abs()
    assert step.max() == pytest.approx(0.51, abs=1e-4)
    assert ((step < 1e-6) | ((step - 0.51).abs() < 1e-4)).all()
    assert not changed.requires_grad
    after = certainty(watched, changed, temperature)
    assert (after > certainty(watched, images.float(), temperature)).all()


def test_the_step_follows_the_slope_at_single_values():
    watched, images = watched_network(), some_images(unknown=True, count=1).float()
    step = (Odin(temperature=2.0).perturbed(watched, images) - images).sign().flatten()
    some = torch.randperm(images.numel(), generator=torch.Generator().manual_seed(0))[:60]
    moved = images.repeat(120, 1, 1, 1)
    moved.view(2, 60, -1)[:, range(60), some] += torch.tensor([[-1.0], [1.0]])
    before, after = certainty(watched, moved, 2.0).view(2, 60)
    steep = (after - before).abs() > 1e-3
    assert steep.sum() >= 10
    assert torch.equal((after > before)[steep], (step[some] > 0)[steep])


def test_without_a_step_it_is_the_tempered_softmax():
    watched, images = watched_network(), some_images(unknown=True)
    expected = MaxSoftmax(temperature=5.0).score_map(watched, images)
    assert torch.equal(Odin(temperature=5.0, epsilon=0.0).score_map(watched, images), expected)


def test_a_classifier_is_scored_too():
    watched, images = watched_network(classify=True), some_images(unknown=True)
    assert Odin().score_map(watched, images).shape == (3, 1, 1)


@pytest.mark.parametrize(
    'settings',
    [
        {'epsilon': -0.001},
        {'epsilon': math.nan},
        {'temperature': 0.0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Odin(**settings)
