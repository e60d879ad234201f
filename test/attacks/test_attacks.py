"""Attacks: inside the mask only, within epsilon, and the network itself stays untouched."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from offline_training.attacks.local_adversarial import NOISE, REGIONS, local_attack, region_mask
from offline_training.synthesis.pasting import paste_objects
from offline_training.synthesis.silhouettes import OUTLINES
from offline_training.synthesis.textures import HELD_OUT_TEXTURES, TEXTURES, texture


@pytest.fixture(scope='module')
def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    )
    return net.eval().requires_grad_(False)


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.uniform(0, 255, (2, 3, 40, 56))).float()
    labels = rng.integers(0, 4, (2, 40, 56)).astype(np.uint8)
    labels[:, :3] = 255
    return images, torch.from_numpy(labels).long(), labels


@pytest.mark.parametrize('mode', ['min', 'max'])
@pytest.mark.parametrize('region', REGIONS)
def test_local_attack_obeys_mask_and_epsilon(network, region, mode):
    images, labels, raw = scene()
    rng = np.random.default_rng(1)
    mask = torch.from_numpy(np.stack([region_mask(rng, region, row) for row in raw]))[:, None]
    generator = torch.Generator().manual_seed(2)
    attacked = local_attack(network, images, labels, mask, 4.0, mode, generator)
    change = (attacked - images).abs()
    assert (change * (1 - mask)).max() == 0
    assert change.max() <= 4.0 + 2 * NOISE + 1e-4
    assert 0 <= attacked.min() <= attacked.max() <= 255
    assert not attacked.requires_grad


def test_local_attack_leaves_the_network_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels, _ = scene()
    mask = torch.ones(2, 1, 40, 56)
    local_attack(network, images, labels, mask, 4.0, 'min', torch.Generator().manual_seed(0))
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not network.training


def test_min_attack_raises_the_loss_of_the_true_class(network):
    images, labels, _ = scene()
    mask = torch.ones(2, 1, 40, 56)

    def loss(x: torch.Tensor) -> float:
        return nn.functional.cross_entropy(network(x), labels, ignore_index=255).item()

    attacked = local_attack(
        network, images, labels, mask, 8.0, 'min', torch.Generator().manual_seed(0)
    )
    assert loss(attacked) > loss(images)


def test_region_masks_are_what_they_are_called():
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 40:] = 3
    rng = np.random.default_rng(0)
    assert region_mask(rng, 'all_image', labels).all()
    assert 0.03 < region_mask(rng, 'pixels_sparse', labels).mean() < 0.07
    chosen = region_mask(rng, 'class', labels)
    assert len(np.unique(labels[chosen > 0])) == 1
    square = np.argwhere(region_mask(rng, 'square_patch', labels))
    assert len(square) == np.prod(square.max(0) - square.min(0) + 1)
    void_only = np.full((8, 8), 255, np.uint8)
    assert region_mask(rng, 'square_patch', void_only).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), objects=st.integers(1, 5))
def test_pasting_changes_nothing_far_from_the_mask(seed, objects):
    rng = np.random.default_rng(seed)
    image = np.full((72, 96, 3), 90, np.uint8)
    original = image.copy()
    pasted, mask = paste_objects(rng, image, original, objects)
    assert np.array_equal(image, original)
    assert set(np.unique(mask)) <= {0, 1}
    # Feathered rims reach at most four standard deviations of 1.6 pixels beyond the mask.
    near = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        near[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9] = 1
    changed = (pasted != original).any(axis=2)
    assert mask.any()
    assert not (changed & (near == 0)).any()


def test_pasting_is_repeatable_and_varied():
    image = np.full((72, 96, 3), 90, np.uint8)
    first = [paste_objects(np.random.default_rng(s), image)[0] for s in (1, 1, 2)]
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


@pytest.mark.parametrize('outline', OUTLINES)
def test_outlines_fill_a_part_of_their_box(outline):
    shares = [(outline(np.random.default_rng(seed), 40, 60) > 0).mean() for seed in range(20)]
    assert 0.02 < np.mean(shares) < 0.95


@pytest.mark.parametrize('generator', [*TEXTURES, *HELD_OUT_TEXTURES])
@pytest.mark.parametrize('size', [(8, 8), (31, 50)])
def test_textures_fill_any_size(generator, size):
    field = generator(np.random.default_rng(0), *size)
    assert field.shape == (*size, 3)
    assert np.isfinite(field).all()
    assert texture(np.random.default_rng(0), *size).dtype == np.uint8
