"""ObsNet's eleven local attacks by name, and the fractals one of them draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from offline_training.attacks.local_adversarial import (
    LOCAL_ATTACKS,
    NOISE,
    REGIONS,
    local_attack,
    named_local_attack,
    region_mask,
)
from offline_training.synthesis.fractals import (
    MAX_SHARE,
    MIN_SHARE,
    attractor_points,
    fractal_silhouette,
    iterated_function_system,
)

CLASSES = 5
SIZE = (32, 40)
every_attack = pytest.mark.parametrize('name', LOCAL_ATTACKS)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, CLASSES, 1)
    )
    net[0].weight.data /= 64
    net[3].weight.data *= 4
    return net.eval()


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(seed: int = 0, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = seeded(seed)
    images = (torch.rand(count, 3, *SIZE, generator=generator) * 320 - 32).clamp(0, 255)
    labels = torch.randint(CLASSES, (count, *SIZE), generator=generator)
    labels[:, :3] = 255
    return images, labels


def test_there_are_eleven_each_mode_on_each_region_and_the_fractal():
    assert len(LOCAL_ATTACKS) == 11
    both = {f'{mode}_{region}': (mode, region) for mode in ('min', 'max') for region in REGIONS}
    assert both | {'fractal': ('max', 'fractal')} == LOCAL_ATTACKS
    with pytest.raises(ValueError, match='no local attack'):
        named_local_attack('min_fractal', lambda x: x, *scene(), 4.0, seeded())


@every_attack
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), epsilon=st.sampled_from([0.0, 4.0, 300.0]))
def test_inside_the_mask_and_within_epsilon(name, seed, epsilon):
    images, labels = scene(seed)
    before = images.clone()

    def linear(x: Tensor) -> Tensor:
        return torch.cat([x, -x], dim=1)[:, :CLASSES] / 64

    attacked, mask = named_local_attack(name, linear, images, labels, epsilon, seeded(seed))
    assert mask.shape == (3, 1, *SIZE)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    change = (attacked - images).abs()
    assert (change * (1 - mask)).max() == 0
    assert change.max() <= epsilon + 2 * NOISE + 1e-4
    assert 0 <= attacked.min() <= attacked.max() <= 255
    assert torch.equal(images, before)
    assert not attacked.requires_grad


@every_attack
def test_the_network_is_only_asked(network, name):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.no_grad():
        named_local_attack(name, network, *scene(), 4.0, seeded())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random_state[0])
    assert (np.random.get_state()[1] == random_state[1]).all()  # noqa: NPY002


@every_attack
def test_same_seed_same_attack(network, name):
    first, again, other = (
        named_local_attack(name, network, *scene(), 4.0, seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize('name', [name for name in LOCAL_ATTACKS if name.startswith('min')])
def test_min_lowers_the_true_class_inside_the_mask(network, name):
    images, _ = scene(count=2)
    labels = network(images).argmax(1)  # right everywhere, so that no pixel is left out
    attacked, mask = named_local_attack(name, network, images, labels, 8.0, seeded())

    def loss(x: Tensor) -> float:
        losses = F.cross_entropy(network(x), labels, reduction='none')
        return (losses * mask[:, 0]).sum().item()

    assert loss(attacked) > loss(images)


def channel_network(images: Tensor) -> Tensor:
    """Each class reads a channel of its own, so that changed channels tell the class."""
    return images / 255


@pytest.mark.parametrize(
    'name', [name for name, (mode, _) in LOCAL_ATTACKS.items() if mode == 'max']
)
def test_max_raises_one_wrong_class_per_image(name):
    images = torch.full((64, 3, 16, 16), 128.0)
    labels = torch.full((64, 16, 16), 3)  # none of the outputs, hence all of them are wrong
    attacked, mask = named_local_attack(name, channel_network, images, labels, 60.0, seeded())
    moved = (attacked - images).sum(dim=(2, 3)) / mask.sum(dim=(2, 3))
    raised = set()
    for one, where in zip(moved, mask, strict=True):
        if not where.any():
            continue
        wrong = int(one.argmax())
        raised.add(wrong)
        expected = torch.full((3,), -60.0)
        expected[wrong] = 60.0
        torch.testing.assert_close(one, expected, rtol=0, atol=2 * NOISE)
    assert raised == {0, 1, 2}


def test_max_leaves_pixels_that_already_have_the_class():
    images, labels = torch.full((64, 3, 8, 8), 128.0), torch.zeros(64, 8, 8, dtype=torch.long)
    attacked = local_attack(
        channel_network, images, labels, torch.ones(64, 1, 8, 8), 60.0, 'max', seeded()
    )
    moved = (attacked - images).mean(dim=(2, 3))
    still = moved.abs().amax(dim=1) <= 2 * NOISE
    assert 0 < still.sum() < 64
    assert (moved[~still].argmax(dim=1) != 0).all()


def test_each_image_gets_its_own_class_region():
    labels = torch.arange(3).repeat_interleave(8).repeat(8, 1)  # three stripes
    labels = torch.stack([labels, labels.T.contiguous()[:, :8].repeat(1, 3)[:8]] * 8)
    images = torch.full((16, 3, *labels.shape[1:]), 128.0)
    _, mask = named_local_attack('max_class', lambda x: x / 255, images, labels, 4.0, seeded())
    chosen = set()
    for one, truth in zip(mask[:, 0], labels, strict=True):
        attacked = truth[one > 0].unique()
        assert len(attacked) == 1
        assert torch.equal(one > 0, truth == attacked)
        chosen.add(int(attacked))
    assert len(chosen) > 1


def test_min_class_leaves_out_what_is_wrong_already(network):
    images, labels = scene()
    with torch.no_grad():
        right = network(images).argmax(1) == labels
    _, mask = named_local_attack('min_class', network, images, labels, 4.0, seeded())
    assert mask.any()
    assert not (mask[:, 0].bool() & ~right).any()
    # The max attack of the same seed has the whole class.
    _, whole = named_local_attack('max_class', network, images, labels, 4.0, seeded())
    assert torch.equal(mask[:, 0] > 0, (whole[:, 0] > 0) & right)


def test_square_patches_are_drawn_as_the_observer_is_used_to():
    """What a fixed seed draws stays: runs of the observer must remain repeatable."""
    labels = np.zeros((60, 80), np.uint8)
    for seed in range(10):
        drawn = region_mask(np.random.default_rng(seed), 'square_patch', labels)
        rng = np.random.default_rng(seed)
        height, width = (max(8, int(side * rng.uniform(0.2, 0.45))) for side in labels.shape)
        top, left = int(rng.integers(0, 61 - height)), int(rng.integers(0, 81 - width))
        expected = np.zeros(labels.shape, bool)
        expected[top : top + height, left : left + width] = True
        assert np.array_equal(drawn > 0, expected)


def test_void_alone_leaves_no_class_to_attack():
    labels = np.full((16, 16), 255, np.uint8)
    mask = region_mask(np.random.default_rng(0), 'class', labels)
    assert mask.all()  # void is all there is; with min mode no pixel of it carries a loss


@pytest.mark.parametrize('region', ['square_patch', 'random_patch'])
def test_too_small_images_are_refused(region):
    with pytest.raises(ValueError, match='8 x 8'):
        region_mask(np.random.default_rng(0), region, np.zeros((7, 40), np.uint8))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000), height=st.integers(8, 150), width=st.integers(8, 150))
def test_fractals_fill_a_bounded_part_of_their_box(seed, height, width):
    mask = fractal_silhouette(np.random.default_rng(seed), height, width)
    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert MIN_SHARE <= (mask > 0).mean() <= MAX_SHARE
    # It fits: points reach every side of the box.
    assert mask[0].any()
    assert mask[-1].any()
    assert mask[:, 0].any()
    assert mask[:, -1].any()


def test_fractals_are_repeatable_varied_and_ragged():
    draws = [fractal_silhouette(np.random.default_rng(seed), 64, 64) for seed in (1, 1, *range(8))]
    assert np.array_equal(draws[0], draws[1])
    assert len({draw.tobytes() for draw in draws[2:]}) == 8

    def roundness(mask: np.ndarray) -> float:
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = sum(cv2.arcLength(contour, True) for contour in contours)
        return 4 * np.pi * (mask > 0).sum() / outline**2

    disc = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 25, 255, -1)
    assert max(roundness(draw) for draw in draws) < 0.6 * roundness(disc)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_systems_contract_and_points_lie_on_their_attractor(seed):
    matrices, offsets, probabilities = iterated_function_system(np.random.default_rng(seed))
    assert 2 <= len(matrices) <= 8
    assert np.linalg.svd(matrices)[1].max() <= 0.9 + 1e-9
    assert probabilities.sum() == pytest.approx(1)
    points = attractor_points(np.random.default_rng(seed), 3000)
    assert len(points) >= 3000
    # A ball that every map sends into itself holds the attractor.
    norms = np.linalg.norm(matrices, ord=2, axis=(1, 2))
    radius = (np.linalg.norm(offsets, axis=1) / (1 - norms)).max()
    assert np.linalg.norm(points, axis=1).max() <= radius + 1e-9
    # The attractor is the union of its images: each point is near some map of another point.
    images = (np.einsum('mij,nj->mni', matrices, points) + offsets[:, None]).reshape(-1, 2)
    spread = np.ptp(points, axis=0).max()
    for point in points[-20:]:
        assert np.linalg.norm(images - point, axis=1).min() < 0.1 * spread


def test_fractal_masks_lie_in_a_box_of_the_usual_size():
    for seed in range(20):
        mask = region_mask(np.random.default_rng(seed), 'fractal', np.zeros((60, 80), np.uint8))
        assert mask.dtype == np.float32
        rows, columns = np.nonzero(mask)
        assert 12 <= np.ptp(rows) + 1 <= 27
        assert 16 <= np.ptp(columns) + 1 <= 36
