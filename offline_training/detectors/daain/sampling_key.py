"""The sampling key: which activations of a network make up the sample, drawn once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.daain.poisson_disc import gridify, poisson_disc
from offline_training.learning.store import StorageError
from offline_training.watched.activations import Tap, recording

Layers = Literal['all', 'convolution', 'batch_norm']
Shape = tuple[int, int, int]
KINDS: Mapping[Layers, type[nn.Module]] = {'convolution': _ConvNd, 'batch_norm': _BatchNorm}


def chosen_modules(network: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """Return the leaf modules of the chosen kind by name, in the network's order."""
    return {
        name: module
        for name, module in network.named_modules()
        if (
            next(module.children(), None) is None
            if layers == 'all'
            else isinstance(module, KINDS[layers])
        )
    }


def activation_shapes(
    network: nn.Module, run: Callable[[], object], tap: Tap, layers: Layers
) -> Mapping[str, Shape]:
    """Return (C, H, W) of every activation by name while `run` sends one image through.

    Raises:
        NotApplicableError: the network has no such activation.
    """
    shapes: dict[str, Shape] = {}

    def see(name: str, activation: Tensor) -> None:
        # Some networks fold patches into the batch; those have no place in an image's sample.
        if len(activation) == 1:
            channels, height, width = activation.shape[1:]
            shapes[name] = (channels, height, width)

    with recording(chosen_modules(network, layers), tap, see):
        run()
    if not shapes:
        raise NotApplicableError(
            f'{type(network).__name__} has no activation for tap={tap!r}, layers={layers!r}; '
            "choose layers='all'"
        )
    return shapes


VERSION = 1
SEARCHES = 8
"""Draws at most until the radius gives the wanted number of points."""
NEAR_ENOUGH = 0.02


class SamplingKey(nn.Module):
    """Blue-noise sample of the space of all activations as one index table per layer.

    The space stacks the activations of all layers, brought to the image's size by
    nearest-neighbour upsampling: axes (channel, y, x). That stack is never built: a point is the
    activation (channel, y * h // H, x * w // W) of its layer, and sampling is a gather. Whoever
    knows the key can hide from the detector, so keep it as secret as a password.

    `coordinates` (N, 3) are the points in the space, `table` (3, N) channel, row and column within
    their layers (layer after layer), `arrangement` (K, rows, columns) the gridified form as
    indices into the N points, (N, 1, 1) without a grid.
    """

    def __init__(
        self, header: Mapping[str, Any], coordinates: Tensor, table: Tensor, arrangement: Tensor
    ):
        super().__init__()
        self.tap: Tap = header['tap']
        self.layers: Layers = header['layers']
        self.radius: float = header['radius']
        self.shapes: dict[str, Shape] = {name: tuple(s) for name, s, _ in header['sampled']}
        self.counts: tuple[int, ...] = tuple(count for _, _, count in header['sampled'])
        text = json.dumps(header, sort_keys=True).encode()
        self.header: Tensor = nn.Buffer(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        self.coordinates: Tensor = nn.Buffer(coordinates)
        self.table: Tensor = nn.Buffer(table)
        self.arrangement: Tensor = nn.Buffer(arrangement)
        bounds = pairwise(accumulate(self.counts, initial=0))
        self.parts = {n: slice(*b) for n, b in zip(self.shapes, bounds, strict=True)}
        """Which points belong to which layer."""
        digest = hashlib.sha256(text)
        for tensor in (coordinates, table, arrangement):
            digest.update(tensor.cpu().contiguous().numpy().astype('<i8').tobytes())
        self.sha256: Tensor = nn.Buffer(torch.tensor(list(digest.digest()), dtype=torch.uint8))

    def __len__(self) -> int:
        """Return the number of points."""
        return self.table.shape[1]

    @property
    def digest(self) -> str:
        """SHA-256 of settings and tables: keys with one digest take the same sample."""
        return bytes(self.sha256.tolist()).hex()

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> SamplingKey:
        """Build a key again from its saved buffers.

        Raises:
            StorageError: the key is of another version or does not match its hash.
        """
        header = json.loads(bytes(tensors['header'].tolist()))
        if header['version'] != VERSION:
            raise StorageError(
                f'the sampling key has version {header["version"]}, not {VERSION}; fit daain again'
            )
        key = cls(header, tensors['coordinates'], tensors['table'], tensors['arrangement'])
        if not torch.equal(key.sha256, tensors['sha256']):
            raise StorageError('the sampling key does not match its hash; restore the saved file')
        return key

    def gather(self, name: str, activation: Tensor) -> Tensor:
        """Take this layer's points: activation (B, C, h, w) to (B, n).

        Raises:
            ValueError: the activation has another shape than when the key was drawn.
        """
        if tuple(activation.shape[1:]) != self.shapes[name]:
            raise ValueError(
                f'{name} has activations {tuple(activation.shape[1:])} but the sampling key was '
                f'drawn for {self.shapes[name]}; give images of the size of fitting, or fit anew'
            )
        channel, row, column = self.table[:, self.parts[name]]
        if not torch.compiler.is_compiling():
            # Takes the points out of any memory layout without a copy of the activation.
            return activation[:, channel, row, column]
        # The same as one Gather; the form above would be exported as GatherND.
        _, height, width = self.shapes[name]
        return activation.flatten(1).index_select(1, (channel * height + row) * width + column)

    @property
    def activations(self) -> list[str]:
        """The activations that are sampled, in the names of `watched.activations`."""
        return [f'{self.tap}/{name}' for name in self.shapes]

    def sample(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Return the sample (B, N) of `activations`.

        Raises:
            ValueError: the network differs from the one the key was drawn for.
        """
        if missing := [name for name in self.activations if name not in seen]:
            raise ValueError(
                f'the network has no activation {missing[0]!r}, which the sampling key takes; use '
                'the network that daain was fitted on, or fit anew'
            )
        return torch.cat(
            [self.gather(name, seen[f'{self.tap}/{name}']) for name in self.shapes], dim=1
        )


def _native(
    points: NDArray[np.int64], shapes: Mapping[str, Shape], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the points' layer, channel, row and column (4, N), and which points to keep.

    Points that fall on one activation of a coarse layer would make the sample degenerate: only
    the first of them is kept.
    """
    sizes = np.array(list(shapes.values()))
    ends = sizes[:, 0].cumsum()
    layer = np.searchsorted(ends, points[:, 0], side='right')
    native = np.stack(
        [
            layer,
            points[:, 0] - (ends - sizes[:, 0])[layer],
            points[:, 1] * sizes[layer, 1] // size[0],
            points[:, 2] * sizes[layer, 2] // size[1],
        ]
    )
    return native, np.sort(np.unique(native, axis=1, return_index=True)[1])


def draw_key(
    shapes: Mapping[str, Shape],
    size: tuple[int, int],
    *,
    tap: Tap,
    layers: Layers,
    seed: int,
    radius: float | None = None,
    points: int = 1000,
    grid: tuple[int, int] | None = None,
) -> SamplingKey:
    """Draw the key for activations of `shapes` (C, h, w) and images of `size` (H, W).

    The distance counts raw indices, channels included. With `radius=None` it is searched so that
    about `points` distinct activations are taken, at most half of all there are. `grid` (rows,
    columns) also arranges them for convolutional flows, which leaves a few out. The same arguments
    give the same key.

    Raises:
        ValueError: the radius or the grid does not suit the space.
    """
    space = (sum(shape[0] for shape in shapes.values()), *size)

    def draw(distance: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        drawn = poisson_disc(space, distance, np.random.default_rng(seed))
        native, kept = _native(drawn, shapes, size)
        return drawn[kept], native[:, kept]

    if radius is None:
        wanted = min(points, max(1, sum(int(np.prod(s)) for s in shapes.values()) // 2))
        radius = _radius_for(wanted, space, lambda distance: len(draw(distance)[0]))
    coordinates, native = draw(radius)
    arrangement = np.arange(len(coordinates)).reshape(-1, 1, 1)
    if grid is not None:
        arrangement = gridify(coordinates, size, *grid)
    names = list(shapes)
    sampled = np.unique(native[0], return_counts=True)
    header = {
        'version': VERSION,
        'tap': tap,
        'layers': layers,
        'seed': seed,
        'radius': radius,
        'size': list(size),
        'sampled': [
            [names[layer], list(shapes[names[layer]]), int(count)]
            for layer, count in zip(*sampled, strict=True)
        ],
    }
    return SamplingKey(
        header,
        torch.from_numpy(coordinates),
        torch.from_numpy(native[1:].copy()),
        torch.from_numpy(arrangement),
    )


def _radius_for(wanted: int, space: tuple[int, ...], count: Callable[[float], int]) -> float:
    """Search the radius that gives about `wanted` points."""
    radius = max(1.0, 0.9 * float(np.prod(np.asarray(space, float)) / wanted) ** (1 / 3))
    best, least = radius, float('inf')
    for _ in range(SEARCHES):
        found = count(radius)
        error = abs(found / wanted - 1)
        if error < least:
            best, least = radius, error
        if error < NEAR_ENOUGH:
            break
        # Counts fall with the first to third power of the radius, by how flat the space is; the
        # square root comes nearer to the aim for all of them.
        radius = max(1.0, radius * (found / wanted) ** 0.5)
    return best
