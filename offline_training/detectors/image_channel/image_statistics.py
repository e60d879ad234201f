"""Three closed-form statistics of tap features; each is higher for a more unusual image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.detectors.image_channel.tap_features import TapFeatures
from offline_training.detectors.layer_density.tied_gaussian import shrunk

NAMES = ('moments', 'quality', 'layout')
CLIP = 8.0
"""Standardised moments are clipped here for the quality, which is linear and knows no bounds."""
PENALTY = 0.01
"""Inverse strength of the ridge penalty of the quality (`C` of scikit-learn)."""


class ImageStatistics(nn.Module):
    """Features of B frames to their statistics (B, 3), in the order of `NAMES`.

    moments: distance per dimension in a Gaussian of the leading principal components of the
    standardised moments, its variances shrunk (OAS); after Lee et al. 2018 for whole frames.
    quality: logit of a logistic regression between normal and degraded frames.
    layout: 1 - cosine between the frame's layout and the mean one, averaged over the taps.
    """

    center: Tensor
    scale: Tensor
    axes: Tensor
    quality: Tensor
    bias: Tensor
    layout: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('center', torch.empty(0))  # (F,)
        self.register_buffer('scale', torch.empty(0))  # (F,)
        self.register_buffer('axes', torch.empty(0))  # (D, F), variance and 1 / sqrt(D) folded in
        self.register_buffer('quality', torch.empty(0))  # (F,)
        self.register_buffer('bias', torch.zeros(()))
        self.register_buffer('layout', torch.empty(0))  # (L,), of length sqrt(taps) or less

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
