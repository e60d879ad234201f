"""Affine flows from sampled activations to a standard Gaussian.

After GLOW (Kingma, Dhariwal 2018), GIN (Sorrenson, Rother, Koethe 2020) and DAAIN (2021). One
kind of block serves all: the linear flows see the sample as a grid of one cell, where a 1x1
convolution is a linear layer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from offline_training.detectors.dense_flow.flow import position

FlowKind = Literal['glow_linear', 'gin_linear', 'glow_1x1', 'gin_1x1', 'conditional']
CLAMP = 2.0
"""Bound of |log scale| per coupling, soft."""


def _convolution(inputs: int, outputs: int, kernel: int, generator: torch.Generator) -> nn.Conv2d:
    """Return a convolution with torch's usual start values, drawn from `generator`."""
    # The constructor would draw from, and advance, the global generator.
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2)
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    bound = 1 / math.sqrt(inputs * kernel * kernel)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class Block(nn.Module):
    """Permute the channels, scale and shift each (ActNorm), then couple one half to the other.

    `forward` maps (B, C, h, w) to (z, log_det) with log_det (B,); `inverse` undoes it. The
    permutation is random, fixed and stored. With `volume_preserving` (GIN) log_det is zero. The
    start is the permutation alone: on standardised samples that is also what GLOW's
    data-dependent initialisation of ActNorm gives.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel: int,
        generator: torch.Generator,
        volume_preserving: bool = False,
        conditions: int = 0,
    ):
        super().__init__()
        self.volume_preserving = volume_preserving
        self.kept = channels // 2
        permutation = torch.randperm(channels, generator=generator)
        self.permutation: Tensor = nn.Buffer(permutation)
        self.inverse_permutation: Tensor = nn.Buffer(permutation.argsort())
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        first = _convolution(self.kept + conditions, hidden, kernel, generator)
        last = _convolution(hidden, 2 * (channels - self.kept), kernel, generator)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.subnet = nn.Sequential(first, nn.ReLU(), last)

    def _log_scale(self, raw: Tensor) -> Tensor:
        # Without volume change, what one channel gains the others lose.
        return raw - raw.mean(dim=1, keepdim=True) if self.volume_preserving else raw

    def _couple(self, kept: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        given = kept if condition is None else torch.cat([kept, condition], dim=1)
        raw, shift = self.subnet(given).chunk(2, dim=1)
        return self._log_scale(CLAMP * torch.tanh(raw / CLAMP)), shift

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(self.log_scale)
        x = x.index_select(1, self.permutation) * log_scale.exp() + self.shift
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        coupled, shift = self._couple(kept, condition)
        z = torch.cat([kept, changed * coupled.exp() + shift], dim=1)
        cells = x.shape[2] * x.shape[3]
        return z, coupled.sum(dim=(1, 2, 3)) + log_scale.sum() * cells

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return x with forward(x)[0] == z."""
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        coupled, shift = self._couple(kept, condition)
        x = torch.cat([kept, (changed - shift) * (-coupled).exp()], dim=1)
        x = (x - self.shift) * (-self._log_scale(self.log_scale)).exp()
        return x.index_select(1, self.inverse_permutation)


class Chain(nn.Module):
    """Blocks one after the other, all under the same condition (1, K, h, w) or none."""

    def __init__(self, blocks: Sequence[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (z, log_det) with z like x and log_det (B,)."""
        given = None if condition is None else condition.expand(len(x), -1, -1, -1)
        log_det = x.new_zeros(len(x))
        for block in self.blocks:
            x, step = block(x, given)
            log_det = log_det + step
        return x, log_det

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return x with forward(x)[0] == z."""
        given = None if condition is None else condition.expand(len(z), -1, -1, -1)
        for block in reversed(self.blocks):
            assert isinstance(block, Block)
            z = block.inverse(z, given)
        return z


class Flow(nn.Module, ABC):
    """An invertible map of samples (B, K, h, w) to z (B, D), D = K h w."""

    def __init__(self, shape: tuple[int, int, int]):
        super().__init__()
        self.shape = shape
        self.dimensions = math.prod(shape)

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z, log_det) with z (B, D) and log |det dz/dx| (B,)."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Return x with forward(x)[0] == z."""


class AffineFlow(Flow):
    """Blocks with linear subnets (1x1 grid) or 1x1 convolutions (a larger grid)."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        blocks: int,
        hidden: int,
        generator: torch.Generator,
        volume_preserving: bool = False,
    ):
        super().__init__(shape)
        self.chain = Chain(
            [Block(shape[0], hidden, 1, generator, volume_preserving) for _ in range(blocks)]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.chain(x)
        return z.flatten(1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Return x with forward(x)[0] == z."""
        return self.chain.inverse(z.reshape(-1, *self.shape))


class ConditionalFlow(Flow):
    """Multi-scale flow conditioned on where in the image a cell of the grid lies.

    A quarter of the blocks at the grid's resolution, the others at half of it (invertible
    downsampling: 2x2 cells to channels), both with 3x3 convolutions; then a quarter of the
    dimensions goes through as many fully connected blocks, the rest is z already. With 16 blocks
    these are DAAIN's 4, 12 and 12. Rows and columns of the grid must be even.
    """

    def __init__(
        self, shape: tuple[int, int, int], blocks: int, hidden: int, generator: torch.Generator
    ):
        super().__init__(shape)
        depth, rows, columns = shape
        self.coarse_shape = (4 * depth, rows // 2, columns // 2)
        self.rest = self.dimensions // 4
        fine = blocks // 4
        self.fine = Chain([Block(depth, hidden, 3, generator, False, 2) for _ in range(fine)])
        self.coarse = Chain(
            [Block(4 * depth, hidden, 3, generator, False, 2) for _ in range(blocks - fine)]
        )
        self.full = Chain([Block(self.rest, hidden, 1, generator) for _ in range(blocks - fine)])
        self.fine_position: Tensor = nn.Buffer(position(rows, columns), persistent=False)
        self.coarse_position: Tensor = nn.Buffer(
            position(rows // 2, columns // 2), persistent=False
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine, log_det = self.fine(x, self.fine_position)
        depth, rows, columns = self.coarse_shape
        coarse = (
            fine.reshape(-1, depth // 4, rows, 2, columns, 2)
            .permute(0, 3, 5, 1, 2, 4)
            .reshape(-1, *self.coarse_shape)
        )
        coarse, step = self.coarse(coarse, self.coarse_position)
        flat = coarse.flatten(1)
        full, last = self.full(flat[:, : self.rest, None, None])
        return torch.cat([full.flatten(1), flat[:, self.rest :]], dim=1), log_det + step + last

    def inverse(self, z: Tensor) -> Tensor:
        """Return x with forward(x)[0] == z."""
        full = self.full.inverse(z[:, : self.rest, None, None]).flatten(1)
        coarse = torch.cat([full, z[:, self.rest :]], dim=1).reshape(-1, *self.coarse_shape)
        coarse = self.coarse.inverse(coarse, self.coarse_position)
        depth, rows, columns = self.coarse_shape
        fine = (
            coarse.reshape(-1, 2, 2, depth // 4, rows, columns)
            .permute(0, 3, 4, 1, 5, 2)
            .reshape(-1, *self.shape)
        )
        return self.fine.inverse(fine, self.fine_position)


def build_flow(
    kind: FlowKind, shape: tuple[int, int, int], blocks: int, hidden: int, seed: int
) -> Flow:
    """Return an untrained flow for samples of `shape` (K, rows, columns).

    Raises:
        ValueError: the sample is too small, or the grid of a conditional flow is not even.
    """
    if shape[0] < 2:
        raise ValueError(f'a flow needs at least two activations per cell, not {shape[0]}')
    generator = torch.Generator().manual_seed(seed)
    if kind == 'conditional':
        if shape[1] % 2 or shape[2] % 2:
            raise ValueError(
                f'a conditional flow needs a grid of even size, not {shape[1]} x {shape[2]}'
            )
        return ConditionalFlow(shape, blocks, hidden, generator)
    return AffineFlow(shape, blocks, hidden, generator, kind.startswith('gin'))
