"""Predictions under random changes: measures, dropout, DropBlock, light and weight noise."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.colour_network import (
    CLASSES,
    ColourNetwork,
    normal_frames,
    some_images,
    watched_network,
)
from torch import Tensor, nn

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.logit_scores.logit_scores import entropy
from offline_training.detectors.monte_carlo.mc_augmentation import McAugmentation, change_light
from offline_training.detectors.monte_carlo.mc_dropout import McDropBlock, McDropout
from offline_training.detectors.monte_carlo.sampled_predictions import MEASURES, disagreement
from offline_training.detectors.monte_carlo.weight_noise import WeightNoise
from offline_training.segmentation.backbones.dropblock import DropBlock2D
from offline_training.watched.base import Watched

SAMPLERS = [McDropout, McDropBlock, McAugmentation, WeightNoise]


class Pointwise(nn.Module):
    """Logits 0 and w x + b of single pixels, dropout in front: all moments are known."""

    def __init__(self, dropout: nn.Module):
        super().__init__()
        self.dropout = dropout
        self.conv = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[0.0, 0, 0], [0.5, -1, 2]])[..., None, None])
            self.conv.bias.copy_(torch.tensor([0.0, 0.25]))

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.conv(self.dropout(x)), {'input': x}

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0]


class ToFront(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().permute(0, 3, 1, 2)


def pointwise(dropout: nn.Module) -> Watched:
    return Watched(Pointwise(dropout), ToFront(), 2)


@settings(max_examples=50, deadline=None)
@given(
    samples=arrays(np.float32, (5, 2, 3, 2, 2), elements=st.floats(-8, 8, width=32))
    | arrays(np.float32, (1, 2, 3, 2, 2), elements=st.floats(-50, 50, width=32))
)
def test_measures_are_those_of_all_samples_at_once(samples):
    p = scipy.special.softmax(samples.astype(float), axis=2)
    mean = p.mean(axis=0)
    total = scipy.stats.entropy(mean, axis=1)
    expected = {
        'mean_msp': 1 - mean.max(axis=1),
        'variance': p.var(axis=0).mean(axis=1),
        'predictive_entropy': total,
        'mutual_information': total - scipy.stats.entropy(p, axis=2).mean(axis=0),
    }
    actual = disagreement(iter(torch.from_numpy(samples)))
    assert tuple(actual) == MEASURES
    for measure, values in expected.items():
        np.testing.assert_allclose(actual[measure], values, atol=2e-6)
        assert actual[measure].min() >= 0


def test_equal_predictions_do_not_disagree():
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    measures = disagreement([logits] * 7)
    assert measures['variance'].max() < 1e-12
    assert measures['mutual_information'].max() < 1e-6
    assert torch.allclose(measures['predictive_entropy'], entropy(logits), atol=1e-5)


def test_no_predictions_are_refused():
    with pytest.raises(ValueError, match='at least one sample'):
        disagreement([])


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_wrong_settings_are_refused(sampler):
    with pytest.raises(ValueError, match='predictive_entropy'):
        sampler(measure='entropy')
    with pytest.raises(ValueError, match='passes'):
        sampler(passes=0)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_all_measures_come_from_the_same_passes(sampler):
    watched, images = watched_network(), some_images(unknown=True, count=1)
    measures = sampler(passes=3).measures(watched, images)
    for measure in MEASURES:
        score = sampler(measure=measure, passes=3).score_map(watched, images)
        assert torch.equal(score, measures[measure])
        assert score.max() > 0


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_the_seed_decides_and_images_share_the_changes(sampler):
    watched = watched_network()
    images = some_images(unknown=True, count=1).expand(2, -1, -1, -1)
    score = sampler(passes=3, seed=1).score_map(watched, images)
    assert torch.equal(score[0], score[1])
    other = sampler(passes=3, seed=2).score_map(watched, images)
    assert not torch.equal(score, other)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_passes_differ(sampler):
    watched, images = watched_network(), some_images(unknown=True, count=1)
    detector, generator = sampler(passes=4), torch.Generator().manual_seed(0)
    with torch.no_grad():
        samples = list(detector.samples(watched, images, generator))
    assert len(samples) == 4
    assert all(sample.shape == (1, CLASSES, 32, 48) for sample in samples)
    for first, second in pairwise(samples):
        assert not torch.equal(first, second)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_the_network_is_restored_after_an_error(sampler):
    watched, images = watched_network(), some_images(unknown=True, count=1)
    before = watched(images)
    head, calls = watched.network.head.forward, []

    def failing(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError('out of memory')
        return head(x)

    watched.network.head.forward = failing
    with pytest.raises(RuntimeError, match='out of memory'):
        sampler(passes=3).score_map(watched, images)
    watched.network.head.forward = head
    assert torch.equal(watched(images), before)
    assert not any(module._forward_hooks or module.training for module in watched.modules())


def test_a_consumer_that_stops_leaves_no_hook_behind():
    watched, images = watched_network(), some_images(unknown=True, count=1)
    samples = McDropout().samples(watched, images, torch.Generator().manual_seed(0))
    next(samples)
    assert not any(module._forward_hooks for module in watched.modules())


@pytest.mark.parametrize('detector', [McDropout(), McDropBlock()])
def test_a_network_without_the_layers_is_refused(detector):
    watched = watched_network(dropout=False)
    with pytest.raises(NotApplicableError, match='ColourNetwork has none'):
        detector.fit(watched, normal_frames(1))
    with pytest.raises(NotApplicableError, match=detector.spec.name):
        detector.score_map(watched, some_images(unknown=True))


def test_only_layers_of_the_own_kind_drop():
    images = some_images(unknown=True, count=1)
    with pytest.raises(NotApplicableError):
        McDropout().score_map(pointwise(DropBlock2D(2, 0.1)), images)
    with pytest.raises(NotApplicableError):
        McDropBlock().score_map(pointwise(nn.Dropout(0.1)), images)
    network = ColourNetwork()
    network.dropout.p = network.dropout2d.p = 0.0
    watched = Watched(network, watched_network().normalize, CLASSES)
    assert McDropout(measure='variance').score_map(watched, images).max() == 0
    assert McDropBlock(measure='variance').score_map(watched, images).max() > 0


def test_dropout_keeps_the_mean_and_has_the_known_variance():
    pixel = torch.tensor([200.0, 40.0, 90.0])
    images = pixel.expand(1, 70, 80, 3)
    with torch.no_grad():
        (sample,) = McDropout(passes=1).samples(
            pointwise(nn.Dropout(0.3)), images, torch.Generator().manual_seed(0)
        )
    weighted = pixel * torch.tensor([0.5, -1, 2])
    deviation = ((weighted**2).sum() * 0.3 / 0.7).sqrt().item()
    logits = sample[0, 1]
    assert logits.mean().item() == pytest.approx(
        weighted.sum().item() + 0.25, abs=5 * deviation / logits.numel() ** 0.5
    )
    assert logits.std().item() == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize(
    ('layer', 'shape', 'whole_channels'),
    [
        (nn.Dropout(0.4), (2, 50, 8, 9), False),
        (nn.Dropout1d(0.4), (2, 2000, 4), True),
        (nn.Dropout2d(0.4), (2, 2000, 2, 2), True),
        (nn.Dropout3d(0.4), (2, 2000, 2, 2, 1), True),
        (nn.Dropout(0.4), (2, 3000), False),
    ],
)
def test_what_dropout_drops(layer, shape, whole_channels):
    dropped = McDropout.drop(layer, torch.ones(shape), torch.Generator().manual_seed(0))
    assert torch.equal(dropped[0], dropped[1])
    kept = dropped[0] > 0
    assert torch.allclose(dropped[0][kept], torch.tensor(1 / 0.6))
    assert kept.float().mean().item() == pytest.approx(0.6, abs=0.05)
    flat = kept.flatten(1) if kept.ndim > 1 else kept[:, None]
    assert (flat == flat[:, :1]).all() == whole_channels or flat.shape[1] == 1


def test_dropping_everything_gives_zeros():
    ones = torch.ones(1, 3, 2, 2)
    assert McDropout.drop(nn.Dropout(1.0), ones, torch.Generator().manual_seed(0)).eq(0).all()


def test_dropblock_drops_squares_of_all_channels_when_shared():
    layer = DropBlock2D(3, 0.2, shared=True)
    layer.eval()
    watched = pointwise(layer)
    images = torch.full((1, 12, 12, 3), 100.0)
    with torch.no_grad():
        (sample,) = McDropBlock(passes=1).samples(
            watched, images, torch.Generator().manual_seed(3)
        )
    dropped = torch.isclose(sample[0, 1], torch.tensor(0.25))
    assert 0 < dropped.float().mean() < 0.5
    # Opening with a 3x3 square leaves a union of such squares as it is.
    eroded = nn.functional.max_pool2d((~dropped)[None, None].float(), 3, 1) == 0
    opened = nn.functional.max_pool2d(nn.functional.pad(eroded.float(), [2] * 4), 3, 1) > 0
    assert torch.equal(opened[0, 0], dropped)


def test_weight_noise_has_the_known_variance():
    watched = pointwise(nn.Identity())
    pixel = torch.tensor([20.0, 4.0, 9.0])
    detector = WeightNoise(passes=800, sigma=0.1)
    with torch.no_grad():
        samples = torch.stack(
            [
                sample[0, :, 0, 0]
                for sample in detector.samples(
                    watched, pixel.view(1, 1, 1, 3), torch.Generator().manual_seed(0)
                )
            ]
        )
    # Every logit is w x + b, and w and b have the noise.
    deviation = 0.1 * (pixel.square().sum() + 1).sqrt().item()
    assert samples.std(dim=0).tolist() == pytest.approx([deviation] * 2, rel=0.12)
    assert samples[:, 0].mean().item() == pytest.approx(0, abs=5 * deviation / 800**0.5)


def test_no_weight_noise_is_the_plain_entropy():
    watched, images = watched_network(), some_images(unknown=True, count=1)
    measures = WeightNoise(passes=3, sigma=0.0).measures(watched, images)
    plain = entropy(watched(images)[:, :CLASSES])
    assert torch.allclose(measures['predictive_entropy'], plain, atol=1e-5)
    assert measures['variance'].max() < 1e-12
    for sigma in (-0.1, math.nan):
        with pytest.raises(ValueError, match='sigma'):
            WeightNoise(sigma=sigma)


def test_mirrored_predictions_are_mirrored_back():
    watched = pointwise(nn.Identity())
    images = some_images(unknown=True, count=2)
    measures = McAugmentation(passes=2, strength=0.0).measures(watched, images)
    assert measures['variance'].max() < 1e-12
    with pytest.raises(ValueError, match='strength'):
        McAugmentation(strength=1.5)


@settings(max_examples=25, deadline=None)
@given(
    factors=st.tuples(*[st.floats(0, 2)] * 3),
    image=arrays(np.float32, (2, 3, 4, 3), elements=st.floats(0, 255, width=32)),
)
def test_light_stays_in_range_and_ones_change_nothing(factors, image):
    images = torch.from_numpy(image)
    changed = change_light(images, *factors)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert torch.allclose(change_light(images, 1, 1, 1), images, atol=1e-3)
    swapped = change_light(images.flip(3), *factors).flip(3)
    assert torch.allclose(swapped, changed, atol=1e-3), 'RGB and BGR differ'


def test_light_does_what_its_factors_say():
    images = some_images(unknown=True).float()
    expected = SimpleNamespace(
        dark=images * 0.5,
        flat=images.mean(dim=(1, 2, 3), keepdim=True).expand_as(images),
        grey=images.mean(dim=3, keepdim=True).expand_as(images),
    )
    assert torch.allclose(change_light(images, 0.5, 1, 1), expected.dark, atol=1e-3)
    assert torch.allclose(change_light(images, 1, 0, 1), expected.flat, atol=1e-3)
    assert torch.allclose(change_light(images, 1, 1, 0), expected.grey, atol=1e-3)
