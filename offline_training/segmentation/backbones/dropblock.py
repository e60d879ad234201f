"""DropBlock (Ghiasi, Lin, Le: "DropBlock: A regularization method for CNNs", NeurIPS 2018).

Drawing a mask is separate from applying it: an engine must be deterministic and gets masks as
inputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def seed_probability(drop_prob: float, block: tuple[int, int], size: tuple[int, int]) -> float:
    """Return gamma (equation 1): the probability that a block starts at a place where it fits.

    `block` and `size` are rows and columns, `block` not larger than `size`. Blocks may overlap,
    so the share that is really dropped is at most `drop_prob`.
    """
    places = (size[0] - block[0] + 1) * (size[1] - block[1] + 1)
    return drop_prob * size[0] * size[1] / (block[0] * block[1] * places)


def drop_block_mask(
    shape: tuple[int, int, int, int],
    block_size: int,
    drop_prob: float,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Draw a mask float32 (B, C, H, W): 0 inside square blocks, 1 elsewhere.

    With C = 1 the mask serves all channels of a tensor. Blocks lie wholly inside the map; one that
    is larger than the map is cut to it.

    Args:
        shape: (B, C, H, W).
        block_size: side of the blocks in map pixels.
        drop_prob: expected share of dropped pixels, overlaps not counted.
        generator: where the random numbers come from; None = torch's own.
        device: where to put the mask; the numbers are drawn where the generator is.
    """
    _check(block_size, drop_prob)
    batch, channels, height, width = shape
    rows, columns = min(block_size, height), min(block_size, width)
    gamma = seed_probability(drop_prob, (rows, columns), (height, width))
    chance = torch.rand(
        (batch, channels, height - rows + 1, width - columns + 1),
        generator=generator,
        device=device if generator is None else generator.device,
    )
    seeds = F.pad((chance < gamma).float(), (columns - 1, columns - 1, rows - 1, rows - 1))
    # Rows, then columns: the maximum over a square of side 48 would read 2304 values per pixel.
    dropped = F.max_pool2d(F.max_pool2d(seeds, (rows, 1), 1), (1, columns), 1)
    return (1 - dropped).to(device)


def drop_block(x: Tensor, mask: Tensor) -> Tensor:
    """Zero `x` (B, C, H, W) where `mask` (B, C or 1, H, W) is 0 and rescale the rest.

    Each sample is divided by its own kept share (algorithm 1, line 7), so that it does not depend
    on the others in the batch; one that is dropped as a whole becomes zero.
    """
    kept = mask.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    return x * mask / kept


class DropBlock2D(nn.Module):
    """Drop square blocks of a map (B, C, H, W) in training mode; the identity in evaluation.

    `shared` drops the same pixels of all channels, as LaREx does; otherwise every channel has
    blocks of its own, which the paper found better. `generator` makes the draws repeatable.

    Raises:
        ValueError: `block_size` is below 1 or `drop_prob` not in [0, 1).
    """

    def __init__(
        self,
        block_size: int,
        drop_prob: float,
        shared: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        _check(block_size, drop_prob)
        self.block_size = block_size
        self.drop_prob = drop_prob
        self.shared = shared
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        batch, channels, height, width = x.shape
        shape = (batch, 1 if self.shared else channels, height, width)
        mask = drop_block_mask(shape, self.block_size, self.drop_prob, self.generator, x.device)
        return drop_block(x, mask.to(x.dtype))

    def extra_repr(self) -> str:
        return f'{self.block_size}, drop_prob={self.drop_prob}, shared={self.shared}'


def _check(block_size: int, drop_prob: float) -> None:
    if block_size < 1 or not 0 <= drop_prob < 1:
        raise ValueError(
            f'DropBlock has block_size {block_size} and drop_prob {drop_prob} but needs a size of '
            'at least 1 and a probability in [0, 1); correct them'
        )
