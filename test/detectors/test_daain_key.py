"""The sampling key: blue noise, one gather per layer, the same for the same seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from torch import nn

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.daain.poisson_disc import gridify, poisson_disc
from offline_training.detectors.daain.sampling_key import (
    SamplingKey,
    activation_shapes,
    chosen_modules,
    draw_key,
)
from offline_training.learning.store import StorageError
from offline_training.watched.activations import recording
from offline_training.watched.base import Watched

SIZE = (24, 40)


class Shared(nn.Module):
    """Several resolutions, an in-place ReLU in two places, indices of a pooling, a dense end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.second = nn.Conv2d(6, 10, 3, padding=1)
        self.unused = nn.Conv2d(1, 1, 1)
        self.end = nn.Linear(10, 4)

    def features(self, x):
        x = self.relu(self.norm(self.first(x)))
        x, _ = self.pool(x)
        x = self.relu(self.second(x))
        return self.end(x.mean(dim=(2, 3))), {}


class Scale(nn.Module):
    def forward(self, images):
        return images.float().permute(0, 3, 1, 2) / 255


def watched_network(seed: int = 0) -> Watched:
    torch.manual_seed(seed)
    return Watched(Shared(), Scale(), 4)


def some_images(count: int = 2, size=SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *size, 3), generator=generator, dtype=torch.uint8)


def shapes_of(watched: Watched, tap='post', layers='all'):
    images = some_images(1)
    return activation_shapes(watched.network, lambda: watched(images), tap, layers)


def key_of(watched: Watched, tap='post', layers='all', **options) -> SamplingKey:
    shapes = shapes_of(watched, tap, layers)
    options = {'seed': 3, 'points': 150} | options
    return draw_key(shapes, SIZE, tap=tap, layers=layers, **options)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(1, 50)),
    radius=st.floats(4.0, 30.0),
    seed=st.integers(0, 1000),
)
def test_poisson_disc_keeps_its_distance_and_leaves_no_room(shape, radius, seed):
    rng = np.random.default_rng(seed)
    points = poisson_disc(shape, radius, rng)
    assert ((points >= 0) & (points < shape)).all()
    tree = cKDTree(points)
    if len(points) > 1:
        assert tree.query(points, k=2)[0][:, 1].min() >= radius - 1e-9
    anywhere = rng.integers(0, shape, (4000, 3))
    assert (tree.query(anywhere)[0] < radius).mean() > 0.99


def test_poisson_disc_is_sorted_and_repeatable():
    first, again, other = (
        poisson_disc((40, 30, 30), 5, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.tolist() == sorted(first.tolist())


@pytest.mark.parametrize('radius', [0.5, 2.0])
def test_poisson_disc_refuses_a_flood_of_points(radius):
    with pytest.raises(ValueError, match='choose a larger one'):
        poisson_disc((5000, 256, 512), radius, np.random.default_rng(0))


def test_grid_holds_each_point_once_in_its_cell():
    points = poisson_disc((80, 24, 40), 5, np.random.default_rng(0))
    grid = gridify(points, (24, 40), 2, 4)
    assert grid.shape[1:] == (2, 4)
    assert len(np.unique(grid)) == grid.size > 0.6 * len(points)
    for row in range(2):
        for column in range(4):
            channel, y, x = points[grid[:, row, column]].T
            assert (y // 12 == row).all()
            assert (x // 10 == column).all()
            assert (np.diff(channel) >= 0).all()
    with pytest.raises(ValueError, match='coarser grid'):
        gridify(points, (24, 40), 24, 40)


def test_recording_shows_every_call_in_order_before_it_is_overwritten():
    watched = watched_network()
    network = watched.network
    images = some_images()
    seen = {}
    modules = chosen_modules(network, 'all')
    with recording(modules, 'post', lambda n, a: seen.__setitem__(n, a.clone())):
        watched(images)
    assert list(seen) == ['first', 'norm', 'relu', 'pool', 'second', 'relu:2', 'end']
    x = watched.normalize(images)
    first = network.first(x)
    norm = network.norm(first)
    assert torch.equal(seen['first'], first)
    assert torch.equal(seen['norm'], norm)  # the ReLU after it works in place
    assert (seen['norm'] < 0).any()
    pooled = nn.functional.max_pool2d(norm.relu(), 2)
    assert torch.equal(seen['pool'], pooled)
    assert torch.equal(seen['relu:2'], network.second(pooled).relu())
    assert seen['end'].shape == (2, 4, 1, 1)
    inputs = {}
    with recording(modules, 'pre', lambda n, a: inputs.__setitem__(n, a.clone())):
        watched(images)
    assert torch.equal(inputs['first'], x)
    assert torch.equal(inputs['relu'], norm)
    assert inputs['end'].shape == (2, 10, 1, 1)


def test_recording_by_type_of_layer():
    watched = watched_network()
    assert list(shapes_of(watched, 'post', 'convolution')) == ['first', 'second']
    assert shapes_of(watched, 'pre', 'batch_norm') == {'norm': (6, 12, 20)}
    assert shapes_of(watched)['relu:2'] == (10, 6, 10)
    network = nn.Sequential(nn.Conv2d(3, 2, 1))
    with pytest.raises(NotApplicableError, match='has no activation for'):
        activation_shapes(network, lambda: network(torch.zeros(1, 3, 4, 4)), 'pre', 'batch_norm')


def test_hooks_are_removed_also_after_an_error():
    watched = watched_network()

    def fail(name, activation):
        raise KeyError(name)

    for tap in ('pre', 'post'):
        modules = chosen_modules(watched.network, 'all')
        with pytest.raises(KeyError), recording(modules, tap, fail):
            watched(some_images())
    for module in watched.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@pytest.mark.parametrize(
    ('tap', 'layers'), [('post', 'all'), ('pre', 'all'), ('post', 'convolution')]
)
def test_gather_is_upsampling_and_masking(tap, layers):
    watched = watched_network()
    images = some_images()
    key = key_of(watched, tap, layers)
    seen = watched.look(images, key.activations)
    sample = key.sample(seen)
    stack = []

    def upsample(name, activation):
        height, width = activation.shape[2:]
        rows = [y * height // SIZE[0] for y in range(SIZE[0])]
        columns = [x * width // SIZE[1] for x in range(SIZE[1])]
        big = activation[:, :, rows][:, :, :, columns]
        if SIZE[0] % height == 0:
            assert torch.equal(big, nn.functional.interpolate(activation, SIZE))
        stack.append(big)

    with recording(chosen_modules(watched.network, layers), tap, upsample):
        assert torch.equal(watched(images), seen['logits'])
    space = torch.cat(stack, dim=1)
    mask = torch.zeros(space.shape[1:], dtype=torch.bool)
    mask[tuple(key.coordinates.T)] = True
    assert torch.equal(sample, space[:, mask])


def test_gather_reads_any_memory_layout():
    watched = watched_network()
    key = key_of(watched)
    activation = torch.randn(2, 6, 12, 20)
    expected = key.gather('first', activation)
    copy = activation.contiguous(memory_format=torch.channels_last)
    assert copy.stride() != activation.stride()
    assert torch.equal(key.gather('first', copy), expected)


def test_an_activation_is_taken_once():
    """Coarse layers show one activation at several points of the space."""
    watched = watched_network()
    key = key_of(watched, radius=1.5)
    for part in key.parts.values():
        places = key.table[:, part].T.tolist()
        assert len({tuple(place) for place in places}) == len(places)
    assert key.parts['end'].stop - key.parts['end'].start <= 4


@pytest.mark.parametrize('points', [40, 150, 600])
def test_the_radius_is_found_for_a_number_of_points(points):
    key = key_of(watched_network(), points=points)
    assert len(key) == pytest.approx(points, rel=0.15)
    distance = cKDTree(key.coordinates.numpy()).query(key.coordinates.numpy(), k=2)[0][:, 1]
    assert distance.min() >= key.radius - 1e-9
    assert sum(key.counts) == len(key)


def test_more_points_than_activations():
    key = key_of(watched_network(), 'pre', 'batch_norm', points=100_000)
    assert 0.2 * 1440 < len(key) <= 1440


def test_key_depends_on_seed_and_nothing_else():
    watched = watched_network()
    key, again, other = (key_of(watched, seed=seed) for seed in (3, 3, 4))
    assert key.digest == again.digest
    assert torch.equal(key.table, again.table)
    assert key.digest != other.digest
    assert not torch.equal(key.coordinates[:20], other.coordinates[:20])
    assert key_of(watched_network(seed=9)).digest == key.digest


def test_an_altered_key_is_refused():
    tensors = key_of(watched_network()).state_dict()
    assert SamplingKey.restore(tensors).digest == key_of(watched_network()).digest
    tensors['table'] = tensors['table'].clone()
    tensors['table'][2, 5] += 1
    with pytest.raises(StorageError, match='does not match its hash'):
        SamplingKey.restore(tensors)


def test_other_images_and_networks_are_refused():
    watched = watched_network()
    key = key_of(watched)
    with pytest.raises(ValueError, match='give images of the size of fitting'):
        key.sample(watched.look(some_images(1, (32, 40)), key.activations))
    with pytest.raises(ValueError, match=r"no activation 'post/first'"):
        key.sample(watched.look(some_images()))


def test_sampling_leaves_the_network_alone():
    watched = watched_network()
    before = {name: value.clone() for name, value in watched.state_dict().items()}
    key_of(watched).sample(watched.look(some_images(), key_of(watched).activations))
    assert all(torch.equal(before[n], v) for n, v in watched.state_dict().items())
    assert not watched.network.training
