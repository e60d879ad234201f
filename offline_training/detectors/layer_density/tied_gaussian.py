"""Gaussians with one mean per class and one covariance for all (Lee et al., NeurIPS 2018, eq. 1).

Kimin Lee, Kibok Lee, Honglak Lee, Jinwoo Shin: "A Simple Unified Framework for Detecting
Out-of-Distribution Samples and Adversarial Attacks".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassMoments:
    """Counts, class means and pooled scatter of a stream of vectors, in constant memory.

    Batches are merged as in Chan, Golub, LeVeque 1979: sums of squares would cancel.
    """

    def __init__(self, classes: int, channels: int, device: torch.device):
        self.count = torch.zeros(classes, dtype=torch.float64, device=device)
        self.mean = torch.zeros(classes, channels, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(channels, channels, dtype=torch.float64, device=device)

    def update(self, x: Tensor, classes: Tensor) -> None:
        """Add vectors (N, C) of classes int64 (N,)."""
        x = x.double()
        count = torch.bincount(classes, minlength=len(self.count)).double()
        mean = torch.zeros_like(self.mean).index_add_(0, classes, x)
        mean /= count.clamp_min(1)[:, None]
        centred = x - mean[classes]
        shift = mean - self.mean
        total = self.count + count
        between = self.count * count / total.clamp_min(1)
        self.scatter += centred.T @ centred + (shift * between[:, None]).T @ shift
        self.mean += shift * (count / total.clamp_min(1))[:, None]
        self.count = total


def shrunk(covariance: Tensor, count: float) -> Tensor:
    """Shrink the covariance (C, C) of `count` vectors towards a sphere of the same mean variance.

    Oracle approximating shrinkage (Chen, Wiesel, Eldar, Hero, "Shrinkage Algorithms for MMSE
    Covariance Estimation", 2010, eq. 23 without its 2 / C, as in scikit-learn).
    """
    channels = len(covariance)
    square = (covariance * covariance).mean()
    mean = covariance.trace() / channels
    share = (square + mean**2) / ((count + 1) * (square - mean**2 / channels)).clamp_min(1e-300)
    share = share.clamp_max(1)
    return (1 - share) * covariance + share * mean * torch.eye(channels).to(covariance)


class TiedGaussian(nn.Module):
    """Whitening of vectors (N, K, C), the k-th of class k, to z (N, K, D), N(0, I) if Gaussian.

    With W = diag(1 / s) V' of the D <= C kept directions, z = W (x - mean) and
    log |det W| = -sum(log s). Two things keep 1 / s from drowning all else in noise. First the
    covariance is shrunk towards a sphere: a few hundred frames do not determine 256 directions;
    with many vectors hardly anything is shrunk, and this is Lee et al. Then directions whose s is
    at most `cut` of the largest are left out as rounding noise. Units do not matter to either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.means: Tensor = nn.Buffer(torch.empty(0))  # (K, C)
        self.whitening: Tensor = nn.Buffer(torch.empty(0))  # (D, C)
        self.log_det: Tensor = nn.Buffer(torch.zeros(()))
        self.seen: Tensor = nn.Buffer(torch.empty(0, dtype=torch.bool))  # (K,)

    @classmethod
    def of(cls, moments: ClassMoments, cut: float) -> TiedGaussian:
        """Return the Gaussians of these moments; raises ValueError when there is no spread."""
        count = float(moments.count.sum())
        if not moments.scatter.diagonal().sum() > 0:
            raise ValueError(
                f'{count:.0f} feature vectors do not vary within their classes; fit on more frames'
            )
        variance, axes = torch.linalg.eigh(shrunk(moments.scatter / count, count))
        kept = variance > cut**2 * variance[-1]
        spread = variance[kept].sqrt()
        gaussian = cls()
        gaussian.means = moments.mean.float()
        gaussian.whitening = (axes[:, kept] / spread).T.float().contiguous()
        gaussian.log_det = -spread.log().sum().float()
        gaussian.seen = moments.count > 0
        return gaussian

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x - self.means, self.whitening.T)

    def of_class(self, x: Tensor, classes: Tensor) -> Tensor:
        """Return z (N, D) of vectors (N, C) of classes int64 (N,)."""
        return torch.matmul(x - self.means[classes], self.whitening.T)
