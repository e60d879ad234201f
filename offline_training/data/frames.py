"""Labelled images as networks and detectors learn from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded images of normal driving with their labels, as detectors are fitted on them.

    `images` uint8 (H, W, 3) in model colour order, `labels` uint8 (H, W) with 255 = ignore. For a
    classifier `labels` are uint8 scalars, arrays of shape ().
    """

    images: Sequence[NDArray[np.uint8]]
    labels: Sequence[NDArray[np.uint8]]

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images uint8 (B, H, W, 3) and labels int64 (B, H, W), in order."""
        for start in range(0, len(self.images), size):
            part = slice(start, start + size)
            yield (
                torch.from_numpy(np.stack(self.images[part])).to(device),
                torch.from_numpy(np.stack(self.labels[part])).long().to(device),
            )
