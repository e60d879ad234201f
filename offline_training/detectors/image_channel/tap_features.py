"""What the image channel looks at: moments of every tap over the frame, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 2
"""Of every second row and column: moments of a quarter of the cells are as good."""
GRID = 4
"""The layout is that of 4x4 fields of equal size."""
LEAST_SPREAD = 1e-3


class TapFeatures(NamedTuple):
    """Features of B frames."""

    moments: Tensor
    """(B, F): mean and log standard deviation of every channel of every tap."""
    layouts: Tensor
    """(B, L): of every tap the means of each field without that of the frame, of length 1."""

    def subset(self, chosen: Tensor) -> TapFeatures:
        """Return some of the frames."""
        return TapFeatures(self.moments[chosen], self.layouts[chosen])


def tap_features(taps: Mapping[str, Tensor]) -> TapFeatures:
    """Return the features of taps (B, C_i, H_i, W_i), in their order."""
    moments, layouts = [], []
    for tap in taps.values():
        thin = tap[:, :, ::STEP, ::STEP]
        mean = thin.mean(dim=(2, 3), keepdim=True)
        # Centred before it is squared: half precision has no room for squares of large means.
        centred = thin - mean
        spread = (centred * centred).mean(dim=(2, 3)).sqrt()
        moments += [mean.flatten(1), torch.log(spread + LEAST_SPREAD)]
        rows, columns = (max(1, side // GRID) for side in thin.shape[2:])
        fields = F.avg_pool2d(centred, (rows, columns), (rows, columns)).flatten(1)
        length = (fields * fields).sum(dim=1, keepdim=True).sqrt()
        layouts.append(fields / length.clamp_min(1e-6))
    return TapFeatures(torch.cat(moments, dim=1), torch.cat(layouts, dim=1))
