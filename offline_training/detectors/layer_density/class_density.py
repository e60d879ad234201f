"""Density of one layer's pooled features per class, and the score of a frame at this layer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.detectors.layer_density.residual_couplings import ClassCouplings
from offline_training.detectors.layer_density.tied_gaussian import TiedGaussian


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


MIN_SAMPLES = 4
"""Fewer held-out vectors of a class give no spread of their own."""


class ClassDensity(nn.Module):
    """A tied Gaussian and, on its whitened features, residual couplings if there are any.

    Without couplings, or with untrained ones, the scores are those of Mahalanobis.
    """

    def __init__(self, gaussian: TiedGaussian, couplings: ClassCouplings | None = None):
        super().__init__()
        self.gaussian = gaussian
        self.couplings = couplings
        classes, device = len(gaussian.seen), gaussian.means.device
        self.center: Tensor = nn.Buffer(torch.zeros(classes, device=device))
        self.spread: Tensor = nn.Buffer(torch.ones(classes, device=device))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p_k of the k-th of the vectors (N, K, C): (N, K) in nats."""
        z = self.gaussian(x)
        log_det = self.gaussian.log_det
        if self.couplings is not None:
            z, step = self.couplings(z)
            log_det = log_det + step
        return log_det - 0.5 * (z * z).sum(dim=-1) - 0.5 * math.log(2 * math.pi) * z.shape[-1]

    def standardise(self, log_prob: Tensor, classes: Tensor) -> None:
        """Set centre and spread of -log p per class from held-out vectors: (N,) and classes (N,).

        Under one covariance the classes of few pixels, whose averages are noisy, always have the
        lowest density: without this the most anomalous class would nearly always be one of them.
        """
        own = [-log_prob[classes == k] for k in range(len(self.center))]
        usual = [part for part in own if len(part) >= MIN_SAMPLES] or [-log_prob]
        # A class hardly seen in the held-out frames borrows the average of the others.
        center = torch.stack([part.mean() for part in usual]).mean()
        spread = torch.stack([part.std() for part in usual]).mean()
        for k, part in enumerate(own):
            enough = len(part) >= MIN_SAMPLES
            self.center[k] = part.mean() if enough else center
            self.spread[k] = (part.std() if enough else spread).nan_to_num(1.0).clamp_min(1e-3)

    def forward(self, features: Pooled) -> Tensor:
        """Return one score per frame (B,), higher = more anomalous.

        Known classes: the mean over those present of -log p_k in standard deviations of normal
        driving, as weather and lens change all of them a little rather than one of them much.
        Unknown class: -max_k log p_k in nats. Classes never seen in `fit` do not count.
        """
        seen = self.gaussian.seen
        if features.present is None:
            log_prob = self.log_prob(features.values.expand(-1, len(seen), -1))
            return -log_prob.masked_fill(~seen, -math.inf).amax(dim=1)
        score = (-self.log_prob(features.values) - self.center) / self.spread
        counted = features.present & seen
        # All void: zero; the whole frame, another layer, has no such gap.
        total = score.masked_fill(~counted, 0).sum(dim=1)
        return total / counted.to(score.dtype).sum(dim=1).clamp_min(1)
