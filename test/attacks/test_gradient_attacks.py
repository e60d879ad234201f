"""FGSM, I-FGSM, PGD and CosPGD: within bounds, in the stated direction, the network untouched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from offline_training.attacks.gradient_sign import (
    channels_first,
    cospgd,
    cross_entropy,
    fgsm,
    input_gradient,
    iterative_fgsm,
    pgd,
    project,
)
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize

CLASSES = 5
SLACK = 1e-4
"""Rounding of float32 at 255."""


class Pixels(nn.Module):
    """A random segmentation network with batch statistics; its parameters still want gradients."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, CLASSES, 1)
        )
        self.body[1].running_mean.normal_()
        self.body[3].weight.data *= 4
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.body((images - 127.5) / 64)


class Images(Pixels):
    """The same as a classifier: logits (B, C)."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(dim=(2, 3))


ATTACKS: dict[str, Callable[..., Tensor]] = {
    'fgsm': fgsm,
    'iterative_fgsm': lambda *args, **options: iterative_fgsm(*args, 4, **options),
    'pgd': lambda *args, **options: pgd(*args, 4, seeded(), **options),
    'cospgd': lambda *args, **options: cospgd(*args, 4, seeded(), **options),
}
every_attack = pytest.mark.parametrize('attack', ATTACKS.values(), ids=ATTACKS.keys())


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(seed: int = 0, size: tuple[int, int] = (12, 16)) -> tuple[Tensor, Tensor]:
    """Images that touch both ends of 0..255, labels with a void strip."""
    generator = seeded(seed)
    images = (torch.rand(2, 3, *size, generator=generator) * 320 - 32).clamp(0, 255)
    labels = torch.randint(CLASSES, (2, *size), generator=generator)
    labels[:, :2] = 255
    return images, labels


def mean_loss(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return F.cross_entropy(network(images), labels, ignore_index=255).item()


@every_attack
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    epsilon=st.sampled_from([0.0, 0.5, 8.0, 300.0]),
    targeted=st.booleans(),
    masked=st.booleans(),
)
def test_stays_within_epsilon_range_and_mask(attack, seed, epsilon, targeted, masked):
    images, labels = scene(seed, (6, 8))
    mask = (torch.rand(2, 1, 6, 8, generator=seeded(seed)) < 0.4).float() if masked else None
    before = images.clone()
    attacked = attack(Pixels(), images, labels, epsilon, targeted=targeted, mask=mask)
    assert torch.equal(images, before)
    assert attacked.shape == images.shape
    assert attacked.dtype == torch.float32
    assert not attacked.requires_grad
    change = (attacked - images).abs()
    assert change.max() <= epsilon + SLACK
    assert attacked.min() >= 0
    assert attacked.max() <= 255
    if mask is not None:
        assert (change * (1 - mask)).max() == 0
    if epsilon >= 0.5:
        assert change.max() > 0.4 or (mask is not None and mask.sum() < 4)


@every_attack
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_loss_moves_as_stated(attack, seed):
    network, (images, labels) = Pixels(seed), scene(seed)
    clean = mean_loss(network, images, labels)
    assert mean_loss(network, attack(network, images, labels, 6.0), labels) > clean
    towards = attack(network, images, labels, 6.0, targeted=True)
    assert mean_loss(network, towards, labels) < clean


@every_attack
@pytest.mark.parametrize('wanted', range(CLASSES))
def test_all_pixels_to_one_class(attack, wanted):
    """On a network that knows its classes by colour, each can be reached from each."""
    palette = torch.tensor(
        [[100.0, 100, 100], [150, 100, 100], [100, 150, 100], [100, 100, 150], [150, 150, 150]]
    ).view(CLASSES, 3, 1, 1)

    def segment(x: Tensor) -> Tensor:
        smooth = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return -(smooth[:, None] - palette).square().mean(dim=2) / 200

    _, labels = scene()
    images = palette[labels.clamp(max=CLASSES - 1), :, 0, 0].permute(0, 3, 1, 2)
    attacked = attack(segment, images, torch.full_like(labels, wanted), 30.0, targeted=True)

    def share(x: Tensor) -> float:
        return (segment(x).argmax(1) == wanted).float().mean().item()

    assert share(attacked) > max(0.6, share(images) + 0.2)


@every_attack
def test_the_network_is_only_asked(attack):
    network, (images, labels) = Pixels(), scene()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    with torch.no_grad():
        attack(network, images, labels, 8.0)
    assert all(torch.equal(before[n], value) for n, value in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize('name', ['fgsm', 'iterative_fgsm'])
def test_images_of_a_batch_are_attacked_each_for_itself(name):
    network, (images, labels) = Pixels(), scene()
    together = ATTACKS[name](network, images, labels, 8.0)
    alone = [
        ATTACKS[name](network, images[i : i + 1], labels[i : i + 1], 8.0)
        for i in range(len(images))
    ]
    assert torch.allclose(together, torch.cat(alone), atol=SLACK)


def test_fgsm_is_the_formula():
    network, (images, labels) = Pixels(), scene()
    x = images.clone().requires_grad_(True)
    F.cross_entropy(network(x), labels, ignore_index=255).backward()
    assert x.grad is not None
    expected = (images + 5 * x.grad.sign()).clamp(0, 255)
    # One rounding more or less of a gradient near zero may turn a sign.
    assert (fgsm(network, images, labels, 5.0) - expected).abs().gt(SLACK).float().mean() < 0.01


def test_one_step_of_the_iteration_is_the_single_step():
    network, (images, labels) = Pixels(), scene()
    for targeted in (False, True):
        single = fgsm(network, images, labels, 6.0, targeted=targeted)
        iterated = iterative_fgsm(network, images, labels, 6.0, 1, targeted=targeted)
        assert torch.equal(iterated, single)


def test_iteration_is_a_naive_loop_of_single_steps():
    network, (images, labels) = Pixels(), scene()
    x = images
    for _ in range(5):
        x = fgsm(network, x, labels, 2.0)
        x = torch.maximum(torch.minimum(x, images + 6), images - 6)
    attacked = iterative_fgsm(network, images, labels, 6.0, 5, step_size=2.0)
    assert torch.allclose(attacked, x, atol=SLACK)


def test_more_steps_find_more():
    network, (images, labels) = Pixels(), scene()

    def after(steps: int) -> float:
        attacked = iterative_fgsm(network, images, labels, 24.0, steps)
        return mean_loss(network, attacked, labels)

    assert after(10) > after(1)


@pytest.mark.parametrize('attack', [pgd, cospgd])
def test_the_seed_decides_the_random_start(attack):
    network, (images, labels) = Pixels(), scene()
    first, again, other = (
        attack(network, images, labels, 8.0, 2, seeded(seed), step_size=0.5) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_pgd_starts_anywhere_in_the_ball():
    network, (images, labels) = Pixels(), scene()
    images = images.clamp(20, 235)
    start = pgd(network, images, labels, 8.0, 1, seeded(), step_size=0.0) - images
    assert start.min() < -7
    assert start.max() > 7
    assert start.mean().abs() < 0.5
    assert start.std().item() == pytest.approx(8 / 3**0.5, rel=0.1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), epsilon=st.floats(0, 40))
def test_projection_is_the_nearest_point_and_idempotent(seed, epsilon):
    rng = np.random.default_rng(seed)
    images, wild = rng.uniform(0, 255, (2, 50)), rng.normal(128, 200, (2, 50))
    low, high = np.maximum(images - epsilon, 0), np.minimum(images + epsilon, 255)
    expected = np.where(wild < low, low, np.where(wild > high, high, wild))
    projected = project(torch.from_numpy(wild), torch.from_numpy(images), epsilon)
    assert np.allclose(projected, expected)
    assert torch.equal(project(projected, torch.from_numpy(images), epsilon), projected)


@pytest.mark.parametrize('name', ['fgsm', 'iterative_fgsm', 'pgd', 'cospgd'])
def test_classifiers_are_attacked_too(name):
    network, (images, _) = Images(), scene()
    labels = network(images).argmax(1)
    attacked = ATTACKS[name](network, images, labels, 8.0)
    assert mean_loss(network, attacked, labels) > mean_loss(network, images, labels)
    other = (labels + 1) % CLASSES
    towards = ATTACKS[name](network, images, other, 8.0, targeted=True)
    assert mean_loss(network, towards, other) < mean_loss(network, images, other)


def test_void_pixels_do_not_count():
    network, (images, labels) = Pixels(), scene()
    assert cross_entropy(network(images), labels)[:, :2].abs().max() == 0
    elsewhere = labels.clone()
    elsewhere[:, :2] = 17  # any other number that is no output
    attacked = fgsm(network, images, labels, 8.0)
    assert torch.equal(attacked, fgsm(network, images, elsewhere, 8.0))
    # A 3x3 convolution sees one row further, so the first void row cannot matter.
    assert torch.equal(attacked[:, :, 0], images[:, :, 0])


def test_watched_networks_are_attacked_in_their_own_layout():
    class Taps(Pixels):
        def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            logits = self.body(x)
            return logits, {'logits': logits}

    config = InputConfig(mean=(127.5, 127.5, 127.5), std=(64.0, 64.0, 64.0))
    watched = Watched(Taps(), Normalize(config), CLASSES)
    images, labels = scene()
    attacked = fgsm(channels_first(watched), images, labels, 8.0)
    assert torch.allclose(attacked, fgsm(Pixels(), images, labels, 8.0), atol=SLACK)
    logits, taps = channels_first(watched.features)(images)
    assert torch.equal(logits, taps['logits'])


def test_input_gradient_is_that_of_finite_differences():
    network = Pixels().double()
    images = torch.full((1, 3, 3, 3), 120.0, dtype=torch.float64)

    def loss(logits: Tensor) -> Tensor:
        return logits[:, 1].sum()

    gradient = input_gradient(network, images, loss)
    shifted = images.clone()
    shifted[0, 2, 1, 0] += 1e-3
    with torch.no_grad():
        slope = (loss(network(shifted)) - loss(network(images))) / 1e-3
    assert gradient[0, 2, 1, 0].item() == pytest.approx(slope.item(), rel=1e-3)


def test_errors_say_what_to_give():
    network, (images, labels) = Pixels(), scene()
    with pytest.raises(ValueError, match='do not fit logits'):
        fgsm(network, images, labels[:, :3], 8.0)
    with pytest.raises(ValueError, match='nothing to attack'):
        fgsm(network, images, torch.full_like(labels, 255), 8.0)
    with pytest.raises(ValueError, match='epsilon'):
        fgsm(network, images, labels, -1.0)
    with pytest.raises(ValueError, match='at least one step'):
        pgd(network, images, labels, 8.0, 0, seeded())
