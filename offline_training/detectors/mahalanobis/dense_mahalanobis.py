"""Mahalanobis distance of every cell of the taps, as two 1x1 convolutions per tap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.detectors.layer_density.tied_gaussian import TiedGaussian


class TapDistance(nn.Module):
    """Tap (B, C, h, w) to the squared distance from the nearest class mean, (B, 1, h, w).

    |W (x - m_k)|^2 is computed as |z|^2 - 2 z m_k + |m_k|^2 after the middle of the means is taken
    out: two 1x1 convolutions. The distance is per dimension, because a sum over hundreds of them
    overflows in half precision. `forward` standardises it to normal driving.
    """

    projection: Tensor
    offset: Tensor
    means: Tensor
    center: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('projection', torch.empty(0))  # (D, C, 1, 1)
        self.register_buffer('offset', torch.empty(0))  # (D,)
        self.register_buffer('means', torch.empty(0))  # (K, D, 1, 1)
        self.register_buffer('center', torch.zeros(()))
        self.register_buffer('spread', torch.ones(()))

    @classmethod
    def of(cls, gaussian: TiedGaussian) -> TapDistance:
        """Return the distance to the classes that `gaussian` has seen."""
        distance = cls()
        weight = gaussian.whitening / len(gaussian.whitening) ** 0.5
        means = gaussian.means[gaussian.seen]
        middle = means.mean(dim=0)
        distance.projection = weight[..., None, None]
        distance.offset = -weight @ middle
        distance.means = ((means - middle) @ weight.T)[..., None, None]
        return distance

    def squared(self, tap: Tensor) -> Tensor:
        """Return the squared distance per dimension, (B, 1, h, w)."""
        z = F.conv2d(tap, self.projection, self.offset)
        length = (self.means * self.means).sum(dim=(1, 2, 3))
        # Negated, so that the least becomes a maximum: engines differ in what else they reduce by.
        nearness = F.conv2d(z, 2 * self.means, -length).amax(dim=1, keepdim=True)
        return ((z * z).sum(dim=1, keepdim=True) - nearness).clamp_min(0)

    def forward(self, tap: Tensor) -> Tensor:
        return (self.squared(tap) - self.center) / self.spread


class MahalanobisMap(nn.Module):
    """Taps (B, C_i, h_i, w_i) to one map (B, 1, *size): mean of their standardised distances."""

    def __init__(self, distances: Iterable[TapDistance]):
        super().__init__()
        self.distances = nn.ModuleList(distances)

    def forward(self, taps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        maps = [
            F.interpolate(distance(tap), size=size, mode='bilinear')
            for tap, distance in zip(taps, self.distances, strict=True)
        ]
        return torch.cat(maps, dim=1).mean(dim=1, keepdim=True)
