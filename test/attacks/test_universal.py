"""GD-UAP: one tensor for all frames, within epsilon, that hurts frames it has never seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.attacks.universal import (
    data_prior,
    load_perturbation,
    log_activation,
    perturbed,
    range_prior,
    save_perturbation,
    universal_perturbation,
)
from offline_training.learning.store import StorageError, write_tensors

HEIGHT, WIDTH = 24, 32
COLOURS = np.array([[90, 100, 110], [110, 100, 90], [105, 115, 100], [120, 120, 125]])
EPSILON = 16.0


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(
            nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.classify = nn.Conv2d(16, len(COLOURS), 1)

    def features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        first = self.first((images - 127) / 64)
        second = self.second(first)
        logits = F.interpolate(self.classify(second), scale_factor=2.0)
        return logits, {'first': first, 'second': second}


def frames(count: int, seed: int) -> tuple[list[np.ndarray], Tensor, Tensor]:
    """Sky, ground and two boxes: frames uint8 (H, W, 3), the same as one batch, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, HEIGHT, WIDTH), np.int64)
    for row in labels:
        row[rng.integers(6, 18) :] = 1
        for label in (2, 3):
            y, x = rng.integers(0, HEIGHT - 8), rng.integers(0, WIDTH - 8)
            row[y : y + 8, x : x + 8] = label
    noisy = COLOURS[labels] + rng.normal(0, 6, (*labels.shape, 3))
    shown = list(np.clip(noisy, 0, 255).astype(np.uint8))
    batch = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float()
    return shown, batch, torch.from_numpy(labels)


@pytest.fixture(scope='module')
def network() -> Small:
    torch.manual_seed(0)
    net = Small()
    _, images, labels = frames(64, 0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(60):
        part = slice(16 * (step % 4), 16 * (step % 4) + 16)
        loss = F.cross_entropy(net.features(images[part])[0], labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Parameters go on wanting gradients: the attack must leave them without any all the same.
    optimizer.zero_grad()
    return net.eval()


def accuracy(network: Small, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (network.features(images)[0].argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize('prior', ['range', 'data'])
def test_degrades_frames_it_has_never_seen(network, prior):
    shown, _, _ = frames(64, 0)
    backgrounds = (
        range_prior(4, HEIGHT, WIDTH, (106, 108, 106))
        if prior == 'range'
        else data_prior(4, shown)
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    perturbation = universal_perturbation(
        network.features, backgrounds, EPSILON, 150, generator, learning_rate=0.5
    )
    assert perturbation.shape == (3, HEIGHT, WIDTH)
    assert not perturbation.requires_grad
    assert perturbation.abs().max() <= EPSILON

    _, images, labels = frames(32, 1)
    clean = accuracy(network, images, labels)
    order = torch.randperm(perturbation.numel(), generator=generator)
    shuffled = perturbation.flatten()[order].view_as(perturbation)
    noisy = accuracy(network, perturbed(images, shuffled), labels)
    attacked = accuracy(network, perturbed(images, perturbation), labels)
    assert clean > 0.9
    # The same values in another order are noise of the same strength.
    assert attacked < noisy - 0.1

    assert all(torch.equal(before[n], value) for n, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module.training for module in network.modules())


def test_activations_rise(network):
    draw = range_prior(4, HEIGHT, WIDTH, (106, 108, 106))
    perturbation = universal_perturbation(
        network.features, draw, EPSILON, 60, torch.Generator().manual_seed(1), learning_rate=0.5
    )
    _, images, _ = frames(8, 3)
    with torch.no_grad():
        plain = log_activation(network.features(images)[1])
        driven = log_activation(network.features(perturbed(images, perturbation))[1])
    assert driven > plain + 0.5


def test_same_seed_same_perturbation(network):
    draw = range_prior(2, HEIGHT, WIDTH, (106, 108, 106))
    first, again, other = (
        universal_perturbation(network.features, draw, 8.0, 5, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stiff_perturbation_is_halved_once_it_no_longer_grows():
    """Raising every value is all there is to learn, so all saturate at the upper bound."""
    seen = []

    def brightness(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(images.detach().mean().item() - 100)
        return torch.cat([200 - images[:, :1], images[:, :1]], dim=1), {'pixels': images}

    def grey(generator: torch.Generator) -> Tensor:
        return torch.full((1, 3, 8, 8), 100.0)

    perturbation = universal_perturbation(
        brightness, grey, 10.0, 100, torch.Generator().manual_seed(0), learning_rate=1.0
    )
    saturated = next(i for i, value in enumerate(seen) if value > 9.99)
    assert any(value == pytest.approx(5, abs=1.1) for value in seen[saturated:])
    # Kept is what fools most: every pixel whose first channel is brighter.
    assert (perturbation[0] > 0).all()


def test_the_state_that_fools_most_is_kept_not_the_last():
    """Brightness rises step by step; the answer is another one only on the way."""

    def narrow(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        change = images.mean(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True) - 100
        answer = torch.cat([torch.zeros_like(change), 1 - (change - 3.5).abs()], dim=1)
        return answer, {'pixels': images}

    perturbation = universal_perturbation(
        narrow,
        lambda _: torch.full((1, 3, 8, 8), 100.0),
        10.0,
        80,
        torch.Generator().manual_seed(0),
        learning_rate=0.1,
    )
    assert 2.5 < perturbation.mean() < 4.5


def test_log_activation_is_the_log_of_the_product_of_norms():
    taps = {'a': torch.randn(3, 2, 4, 4), 'b': torch.randn(3, 5)}
    expected = np.mean(
        [
            np.log(np.linalg.norm(taps['a'][i].numpy()) * np.linalg.norm(taps['b'][i].numpy()))
            for i in range(3)
        ]
    )
    assert log_activation(taps).item() == pytest.approx(expected, abs=1e-5)


def test_dead_layers_do_not_turn_the_gradient_to_nan():
    tap = torch.zeros(1, 2, 3, 3, requires_grad=True)
    log_activation({'dead': tap}).backward()
    assert tap.grad is not None
    assert torch.isfinite(tap.grad).all()


def test_range_prior_is_in_range_and_around_the_mean():
    shown = range_prior(16, 32, 32, (100, 128, 150))(torch.Generator().manual_seed(0))
    assert shown.min() >= 0
    assert shown.max() <= 255
    assert torch.allclose(shown.mean(dim=(0, 2, 3)), torch.tensor([100.0, 128.0, 150.0]), atol=2)
    inside = ((shown[:, 1] > 0) & (shown[:, 1] < 255)).float().mean().item()
    assert inside == pytest.approx(0.999, abs=1e-3)


def test_data_prior_draws_the_frames_themselves():
    shown, batch, _ = frames(5, 2)
    drawn = data_prior(40, shown)(torch.Generator().manual_seed(0))
    origin = [(image == batch).flatten(1).all(dim=1).nonzero().tolist() for image in drawn]
    assert all(len(found) == 1 for found in origin)
    assert {found[0][0] for found in origin} == set(range(5))


def test_perturb_clips_and_refuses_another_size():
    images = torch.tensor([[[[0.0, 128.0, 255.0]]]]).expand(2, 3, 1, 3)
    moved = perturbed(images, torch.full((3, 1, 3), 10.0))
    assert moved[0, 0, 0].tolist() == [10, 138, 255]
    with pytest.raises(ValueError, match='make one for this size'):
        perturbed(images, torch.zeros(3, 4, 4))


def test_saved_perturbation_comes_back(tmp_path):
    path = tmp_path / 'universal.safetensors'
    perturbation = torch.randn(3, 4, 5)
    save_perturbation(path, perturbation)
    assert torch.equal(load_perturbation(path), perturbation)
    write_tensors(path, {'something': perturbation})
    with pytest.raises(StorageError, match='no universal perturbation'):
        load_perturbation(path)
    path.write_text(json.dumps({}))
    with pytest.raises(StorageError):
        load_perturbation(path)


@pytest.mark.parametrize(('epsilon', 'steps'), [(0.0, 5), (-1.0, 5), (8.0, 0)])
def test_impossible_settings_are_refused(network, epsilon, steps):
    draw = range_prior(1, HEIGHT, WIDTH, (106, 108, 106))
    with pytest.raises(ValueError, match='needs epsilon > 0'):
        universal_perturbation(network.features, draw, epsilon, steps, torch.Generator())
