"""Entropy of a network's latent channels under DropBlock, from one forward pass.

Arnez, Montoya Vasquez, Radermacher, Terrier: "Latent Representation Entropy Density for
Distribution Shift Detection", UAI 2024. M masks are applied to one activation map; the M spatial
means of a channel are samples of it, and how far they spread is the channel's entropy.

Everything is made of operators that all engines have. Masks are drawn once and then constants, and
samples are sorted by a sorting network, because few engines sort.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from offline_training.segmentation.backbones.dropblock import drop_block_mask

MIN_DISTANCE = 1e-5
"""Least distance between neighbours: samples may coincide, and log(0) is no entropy."""


def mask_weights(
    size: tuple[int, int],
    samples: int,
    block_size: int,
    drop_prob: float,
    generator: torch.Generator,
) -> Tensor:
    """Draw DropBlock masks as weights (M, H, W) of the cells; those of a mask sum to 1.

    All channels share a mask, and one that drops the whole map is drawn again.

    Args:
        size: (H, W) of the map.
        samples: M.
        block_size: side of the blocks in cells.
        drop_prob: expected share of dropped cells, overlaps not counted.
        generator: where the random numbers come from.
    """
    masks: list[Tensor] = []
    while len(masks) < samples:
        mask = drop_block_mask((1, 1, *size), block_size, drop_prob, generator)[0, 0]
        if mask.any():
            masks.append(mask / mask.sum())
    return torch.stack(masks)


def masked_means(tap: Tensor, weights: Tensor) -> Tensor:
    """Return the spatial means (M, B, C) of a map (B, C, H, W) under weights (M, H, W).

    They are those of the map after DropBlock, which rescales by the share it keeps, without a copy
    of the map per mask.
    """
    return torch.matmul(tap.flatten(2), weights.flatten(1).T).permute(2, 0, 1)


@cache
def merge_exchange(count: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return the steps that sort `count` values; the pairs (lower, upper) of a step are disjoint.

    Batcher's merge exchange (Knuth, "The Art of Computer Programming", 5.2.2, algorithm M).
    """
    steps = []
    top = 1 << max(count - 1, 0).bit_length() >> 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            steps.append(tuple((i, i + d) for i in range(count - d) if i & p == r))
            if q == p:
                break
            q, r, d = q // 2, p, q - p
        p //= 2
    return tuple(steps)


def sort_first(x: Tensor) -> Tensor:
    """Sort floats (M, ...) along the first dimension, ascending; a NaN spreads."""
    each = (-1, *[1] * (x.dim() - 1))
    for pairs in merge_exchange(len(x)):
        partner, sign = list(range(len(x))), [1.0] * len(x)
        for lower, upper in pairs:
            partner[lower], partner[upper], sign[lower] = upper, lower, -1.0
        # -max(-a, -b) is the minimum, so that one maximum serves both ends of a pair.
        turn = torch.tensor(sign, dtype=x.dtype, device=x.device).view(each)
        other = x.index_select(0, torch.tensor(partner, device=x.device))
        x = turn * torch.maximum(turn * x, turn * other)
    return x


def knn_entropy(x: Tensor, neighbors: int = 5) -> Tensor:
    """Estimate the entropy in nats of every column of samples (M, ...), result (...).

    h = psi(M) - psi(k) + mean(log(2 d_k)) with the distance d_k to the k-th nearest of the other
    samples, at least `MIN_DISTANCE` (Kozachenko, Leonenko 1987; Kraskov et al., "Estimating mutual
    information", 2004, eq. 20). With M <= k samples, k is M - 1.

    Raises:
        ValueError: fewer than two samples or one neighbour.
    """
    count = len(x)
    if count < 2 or neighbors < 1:
        raise ValueError(
            f'entropy got {count} samples and {neighbors} neighbors; give at least 2 and 1'
        )
    k = neighbors if count > neighbors else count - 1
    x = sort_first(x)
    # Of sorted samples, the k nearest of each and itself are k + 1 in a row. Such a row that
    # would begin or end outside is moved inside: it still holds the sample.
    nearest: Tensor | None = None
    for before in range(k + 1):
        first = [min(max(i - before, 0), count - 1 - k) for i in range(count)]
        start = torch.tensor(first, device=x.device)
        reach = -torch.maximum(x - x.index_select(0, start), x.index_select(0, start + k) - x)
        nearest = reach if nearest is None else torch.maximum(nearest, reach)
    assert nearest is not None
    distance = (-nearest).clamp_min(MIN_DISTANCE)
    # psi(M) - psi(k) of whole numbers.
    bias = sum(1 / n for n in range(k, count))
    return bias + (2 * distance).log().mean(dim=0)
