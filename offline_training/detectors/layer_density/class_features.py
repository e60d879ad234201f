"""Taps averaged per layer: over the whole frame, or over the pixels of each predicted class."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Pooled(NamedTuple):
    """Feature vectors of a batch of frames at one layer."""

    values: Tensor
    """(B, K, C): one vector per class; meaningless where the class is absent."""
    present: Tensor | None
    """Bool (B, K): whose class is known to be in the frame; None: one vector of unknown class."""


def class_means(tap: Tensor, labels: Tensor, num_classes: int, min_share: float) -> Pooled:
    """Average a tap (B, C, h, w) over the pixels of each class in labels (B, H, W).

    A label map of another size is shrunk by area, so that a cell on a border counts for each class
    with its share. Classes with no more than `min_share` of the frame are absent: averages of few
    pixels say little. Labels of `num_classes` and above are void and belong to no class.
    """
    # Comparisons, not one_hot: void labels fall out, and engines have no trouble with them.
    index = torch.arange(num_classes, device=labels.device).view(1, -1, 1, 1)
    masks = (labels[:, None] == index).to(tap.dtype)
    share = masks.mean(dim=(2, 3))
    weights = F.adaptive_avg_pool2d(masks, (tap.shape[2], tap.shape[3])).flatten(2)
    # Normalised before the product: sums over a whole map overflow in half precision.
    weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(1e-6)
    values = torch.bmm(weights, tap.flatten(2).transpose(1, 2))
    return Pooled(values, share > min_share)


def frame_means(tap: Tensor, class_known: bool) -> Pooled:
    """Average a tap (B, C, h, w) over the frame.

    A segmented frame is one known class of its own. The class of a classifier's image is not
    known (Lee et al. 2018: the nearest one counts).
    """
    values = tap.mean(dim=(2, 3))[:, None]
    present = torch.ones(values.shape[:2], dtype=torch.bool, device=tap.device)
    return Pooled(values, present if class_known else None)
