"""What the image channel computes: features of a tap, and three statistics of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.detectors.layer_density.tied_gaussian import shrunk

STEP = 2
"""Of every second row and column: moments of a quarter of the cells are as good."""
GRID = 4
"""The layout is that of 4x4 fields of equal size."""
LEAST_SPREAD = 1e-3


class TapFeatures(NamedTuple):
    """Features of B frames."""

    moments: Tensor
    """(B, F): mean and log standard deviation of every channel of the tap."""
    layouts: Tensor
    """(B, L): the means of each field without that of the frame, of length 1."""

    def subset(self, chosen: Tensor) -> TapFeatures:
        """Return some of the frames."""
        return TapFeatures(self.moments[chosen], self.layouts[chosen])


def deepest(taps: Mapping[str, Tensor]) -> str:
    """Return the name of the tap (B, C, H, W) of the coarsest grid, of several the last.

    It has seen most of the network. Finer ones cost more, and tell other places from bad images
    less well.
    """
    coarsest = min(math.prod(tap.shape[2:]) for tap in taps.values())
    return [name for name, tap in taps.items() if math.prod(tap.shape[2:]) == coarsest][-1]


def tap_features(tap: Tensor) -> TapFeatures:
    """Return the features of a tap (B, C, H, W)."""
    thin = tap[:, :, ::STEP, ::STEP]
    mean = thin.mean(dim=(2, 3), keepdim=True)
    # Centred before it is squared: half precision has no room for squares of large means.
    centred = thin - mean
    spread = (centred * centred).mean(dim=(2, 3)).sqrt()
    rows, columns = (max(1, side // GRID) for side in thin.shape[2:])
    fields = F.avg_pool2d(centred, (rows, columns), (rows, columns)).flatten(1)
    length = (fields * fields).sum(dim=1, keepdim=True).sqrt()
    moments = torch.cat([mean.flatten(1), torch.log(spread + LEAST_SPREAD)], dim=1)
    return TapFeatures(moments, fields / length.clamp_min(1e-6))


NAMES = ('moments', 'quality', 'layout')
CLIP = 1.5
"""Standardised moments are clipped here for the quality, which is linear and knows no bounds."""
PENALTY = 1.0
"""Inverse strength of the ridge penalty of the quality (`C` of scikit-learn)."""


class ImageStatistics(nn.Module):
    """Features of B frames to their statistics (B, 3), in the order of `NAMES`.

    moments: distance per dimension in a Gaussian of the leading principal components of the
    standardised moments, its variances shrunk (OAS); after Lee et al. 2018 for whole frames.
    quality: logit of a logistic regression between normal and degraded frames.
    layout: minus the product of the frame's layout and the mean one, so minus a cosine but for
    the mean's length.
    """

    def __init__(self) -> None:
        super().__init__()
        self.center: Tensor = nn.Buffer(torch.empty(0))  # (F,)
        self.scale: Tensor = nn.Buffer(torch.empty(0))  # (F,)
        self.axes: Tensor = nn.Buffer(torch.empty(0))  # (D, F), variance and 1 / sqrt(D) folded in
        self.quality: Tensor = nn.Buffer(torch.empty(0))  # (F,)
        self.bias: Tensor = nn.Buffer(torch.zeros(()))
        self.layout: Tensor = nn.Buffer(torch.empty(0))  # (L,), of length 1 or less

    @classmethod
    def of(cls, normal: TapFeatures, degraded: TapFeatures, components: int) -> Self:
        """Fit on features of normal frames and of degraded ones.

        Raises:
            ValueError: fewer than three normal frames.
        """
        # scikit-learn is needed to fit, not to score.
        from sklearn.linear_model import LogisticRegression

        count = len(normal.moments)
        if count < 3:
            raise ValueError(f'{count} normal frames do not show what is normal; give 3 or more')
        found = cls()
        moments = normal.moments.double()
        found.center = moments.mean(dim=0).float()
        found.scale = moments.std(dim=0).clamp_min(1e-4).float()
        standard = found.standardised(normal.moments).double()
        _, singular, axes = torch.linalg.svd(standard, full_matrices=False)
        kept = min(components, count - 2)
        variance = shrunk(torch.diag(singular[:kept].square() / count), count).diagonal()
        found.axes = (axes[:kept] / (variance * kept).sqrt()[:, None]).float()
        both = torch.cat([standard, found.standardised(degraded.moments).double()])
        model = LogisticRegression(C=PENALTY, max_iter=1000, class_weight='balanced').fit(
            both.clamp(-CLIP, CLIP).numpy(), np.arange(len(both)) >= count
        )
        found.quality = torch.from_numpy(model.coef_[0]).float()
        found.bias = torch.tensor(float(model.intercept_[0]))
        found.layout = normal.layouts.double().mean(dim=0).float()
        return found

    def standardised(self, moments: Tensor) -> Tensor:
        """Return moments (B, F) in deviations of the normal frames."""
        return (moments - self.center) / self.scale

    def forward(self, features: TapFeatures) -> Tensor:
        standard = self.standardised(features.moments)
        projected = standard @ self.axes.T
        distance = (projected * projected).sum(dim=1).sqrt()
        quality = standard.clamp(-CLIP, CLIP) @ self.quality + self.bias
        layout = -(features.layouts @ self.layout)
        return torch.stack([distance, quality, layout], dim=1)
