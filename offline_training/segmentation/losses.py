"""Losses of segmentation networks: cross entropy, focal loss, soft Jaccard loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from offline_training.data.base import VOID


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    focal_gamma: float = 0.0,
    jaccard_weight: float = 0.0,
) -> Tensor:
    """Return weighted cross entropy or focal loss, plus `jaccard_weight` times soft Jaccard.

    A batch without a pixel that counts gives 0.

    Args:
        logits: (B, C, H, W).
        labels: int64 (B, H, W), 255 ignored.
        weights: (C,).
        focal_gamma: exponent of the focal loss; 0 = cross entropy.
        jaccard_weight: share of `soft_jaccard_loss`; 0 = without.
    """
    if focal_gamma == 0:
        total = F.cross_entropy(logits, labels, weights, ignore_index=VOID, reduction='sum')
        valid = labels != VOID
        # A batch may show nothing that counts, only void, say: its mean would be 0 / 0.
        loss = total / (weights[labels.where(valid, 0)] * valid).sum().clamp_min(1e-12)
    else:
        loss = focal_loss(logits, labels, weights, focal_gamma)
    if jaccard_weight == 0:
        return loss
    return loss + jaccard_weight * soft_jaccard_loss(logits, labels)


def focal_loss(logits: Tensor, labels: Tensor, weights: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the weighted mean of (1 - p)^gamma times cross entropy: easy pixels count less.

    p is the probability of the true class. As in weighted cross entropy the sum is divided by the
    weights of the pixels that count, so gamma = 0 is cross entropy; no such pixel gives 0.
    Source: Lin, Goyal, Girshick, He, Dollar 2017, equation 5.

    Args:
        logits: (B, C, H, W).
        labels: int64 (B, H, W), 255 ignored.
        weights: (C,).
        gamma: 0 or more.
    """
    valid = labels != VOID
    truth = labels.where(valid, 0)
    log_p = logits.log_softmax(dim=1).gather(1, truth[:, None])[:, 0]
    # Never exactly 0: there the slope of a power below 1 is infinite, and 0 times it is NaN.
    doubt = (-log_p.expm1()).clamp_min(1e-8)
    weight = weights[truth] * valid
    return -(weight * doubt**gamma * log_p).sum() / weight.sum().clamp_min(1e-12)


def soft_jaccard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - IoU of the probabilities, averaged over the classes in the batch.

    Source: Rahman and Wang 2016, "Optimizing Intersection-Over-Union".

    Args:
        logits: (B, C, H, W).
        labels: int64 (B, H, W), 255 ignored.
    """
    valid = (labels != VOID).unsqueeze(1)
    truth = F.one_hot(labels.where(valid[:, 0], 0), logits.shape[1]).movedim(-1, 1) * valid
    probability = logits.softmax(1) * valid
    hits = (probability * truth).sum((0, 2, 3))
    size = truth.sum((0, 2, 3))
    union = probability.sum((0, 2, 3)) + size - hits
    present = (size > 0).to(probability.dtype)
    return ((1 - hits / union.clamp_min(1.0)) * present).sum() / present.sum().clamp_min(1.0)
