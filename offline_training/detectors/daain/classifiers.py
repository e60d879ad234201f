"""Scores of flow outputs z (B, D), all (B,) and higher = more anomalous.

Scoring uses only operators that engines have (`onnx_gates.ALLOWED`): z * z and not a power, a
clamp with both bounds, a division of ones and not a reciprocal.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

ClassifierKind = Literal['hbos', 'mahalanobis', 'euclidean', 'harmonic']
BINS = 40
"""Bins per histogram at most."""
PSEUDO_COUNT = 0.5
"""Frames that every bin holds in addition, so that an empty one has a finite score."""


class Classifier(nn.Module, ABC):
    """Score of z; what `fit` learns from normal frames is kept in buffers."""

    def fit(self, z: Tensor) -> None:
        """Learn from z (N, D) of normal frames; nothing to learn unless overridden."""

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Return one score per row, (B, D) to (B,)."""


class HBOS(Classifier):
    """Histogram-based outlier score (Goldstein, Dengel 2012): mean of log(1 / height) over z.

    One histogram of equal bins per dimension, its tallest bin of height 1. As the paper advises,
    there are as many bins as the root of the number of frames, up to DAAIN's 40; the outer ones
    are centred on the extremes that were seen, and beyond them all is empty. The score is not cut
    off at the training maximum as in DAAIN's code, which ties all strong anomalies.
    """

    def __init__(self, dimensions: int):
        super().__init__()
        self.low: Tensor = nn.Buffer(torch.zeros(dimensions))
        self.width: Tensor = nn.Buffer(torch.ones(dimensions))
        self.surprise: Tensor = nn.Buffer(torch.zeros(dimensions * (BINS + 2)))
        rows = torch.arange(dimensions) * (BINS + 2)
        self.row: Tensor = nn.Buffer(rows, persistent=False)

    def _bin(self, z: Tensor) -> Tensor:
        """Return the bin of each value, from 1 up; 0 is below all and BINS + 1 far above."""
        place = (z - self.low) / self.width + 1
        # Written so that NaN, too, falls outside.
        return torch.where(place > 0, place, torch.zeros_like(place)).clamp(0, BINS + 1).long()

    def fit(self, z: Tensor) -> None:
        """Take the histograms of z (N, D)."""
        low, high = z.aminmax(dim=0)
        bins = min(BINS, max(2, round(math.sqrt(len(z)))))
        self.width.copy_(((high - low) / (bins - 1)).clamp_min(1e-6))
        self.low.copy_(low - 0.5 * self.width)
        counts = torch.zeros(z.shape[1], BINS + 2, device=z.device)
        counts.scatter_add_(1, self._bin(z).T, torch.ones_like(z).T)
        counts += PSEUDO_COUNT
        height = counts / counts.amax(dim=1, keepdim=True)
        self.surprise.copy_(-height.log().flatten())

    def forward(self, z: Tensor) -> Tensor:
        at = (self._bin(z) + self.row).flatten()
        return self.surprise.index_select(0, at).reshape(z.shape).mean(dim=1)


class Mahalanobis(Classifier):
    """(z - mean)^T S^-1 (z - mean) / D with the mean vector and a shrunk covariance S.

    Frames are fewer than dimensions, so that the plain covariance has no inverse: S is that of
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    2004.
    """

    def __init__(self, dimensions: int):
        super().__init__()
        self.mean: Tensor = nn.Buffer(torch.zeros(dimensions))
        self.whitening: Tensor = nn.Buffer(torch.eye(dimensions))

    def fit(self, z: Tensor) -> None:
        """Take the mean and the covariance of z (N, D)."""
        mean = z.double().mean(dim=0)
        centred = (z.double() - mean).cpu().numpy()
        covariance, _ = ledoit_wolf(centred, assume_centered=True)
        eye = torch.eye(z.shape[1], dtype=mean.dtype, device=mean.device)
        # The ridge keeps frames that do not differ at all from having no inverse.
        factor = torch.linalg.cholesky(torch.from_numpy(covariance).to(eye) + 1e-6 * eye)
        self.mean.copy_(mean)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, eye, upper=False).T)

    def forward(self, z: Tensor) -> Tensor:
        white = (z - self.mean) @ self.whitening
        return (white * white).mean(dim=1)


class Euclidean(Classifier):
    """mean(z^2): the squared distance from the centre of the Gaussian, per dimension."""

    def forward(self, z: Tensor) -> Tensor:
        return (z * z).mean(dim=1)


class HarmonicMean(Classifier):
    """Harmonic mean of z^2: high only where no dimension is near its centre."""

    def forward(self, z: Tensor) -> Tensor:
        # A dimension exactly at its centre would make the mean zero whatever the others are.
        squares = (z * z).clamp_min(1e-6)
        one = torch.ones_like(squares)
        return one[:, 0] / (one / squares).mean(dim=1)


def build_classifier(kind: ClassifierKind, dimensions: int) -> Classifier:
    """Return an unfitted classifier for z (B, `dimensions`)."""
    if kind == 'hbos':
        return HBOS(dimensions)
    if kind == 'mahalanobis':
        return Mahalanobis(dimensions)
    return Euclidean() if kind == 'euclidean' else HarmonicMean()
