"""Max-unpooling without indices, for engines without pooling indices and unpooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def phase_unpool(y: Tensor, x: Tensor) -> Tensor:
    """Put every value of `y` where 2x2 max-pooling of `x` found its maximum, zero elsewhere.

    Bit-equal to `max_unpool2d` with the indices of `max_pool2d(x, 2)`, ties included: in a window
    the first maximum in row order wins. Only slices, comparisons, `where` and a pixel shuffle.
    Pooling leaves the last row or column of an odd size out, so it becomes zero here as there.

    Args:
        y: (B, C, H // 2, W // 2), the decoder's tensor.
        x: (B, C, H, W), the tensor that was pooled in the encoder.

    Returns:
        (B, C, H, W).
    """
    batch, channels, height, width = y.shape
    window = [x[:, :, i : 2 * height : 2, j : 2 * width : 2] for i in (0, 1) for j in (0, 1)]
    maximum = torch.maximum(
        torch.maximum(window[0], window[1]), torch.maximum(window[2], window[3])
    )
    zero = torch.zeros_like(y)
    taken = window[0] == maximum
    phases = [torch.where(taken, y, zero)]
    for part in window[1:]:
        first = (part == maximum) & ~taken
        phases.append(torch.where(first, y, zero))
        taken = taken | first
    stacked = torch.stack(phases, dim=2).reshape(batch, 4 * channels, height, width)
    unpooled = F.pixel_shuffle(stacked, 2)
    right, below = x.shape[-1] - 2 * width, x.shape[-2] - 2 * height
    return F.pad(unpooled, (0, right, 0, below)) if right or below else unpooled
