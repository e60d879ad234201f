"""Dense normalising flow over backbone taps: how unusual is what each pixel's features show.

Unlike DAAIN, which flows a sparse sample to one score per image, every position of the map is a
sample here and gets its own density. Affine couplings as in RealNVP (Dinh et al. 2017), fixed
orthogonal mixing between them, position as a condition as in CFLOW (Gudovskiy et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLAMP = 1.9
"""Bound of |log scale| per coupling, soft (FrEIA's usual value)."""
FEATURE_LIMIT = 10.0
"""Whitened features are clipped here; half precision overflows on outliers otherwise."""


class Whitening(nn.Module):
    """x -> (x - mean) W: features (B, C, H, W) to uncorrelated unit variance (B, D, H, W)."""

    def __init__(self, channels: int, dimensions: int):
        super().__init__()
        self.project = nn.Conv2d(channels, dimensions, 1)
        self.requires_grad_(False)

    def fit(self, samples: Tensor) -> None:
        """Set the projection to the leading principal axes of `samples` (N, C)."""
        mean = samples.mean(dim=0)
        covariance = torch.cov((samples - mean).double().T)
        variance, axes = torch.linalg.eigh(covariance)
        dimensions = self.project.out_channels
        # eigh sorts ascending; the floor keeps dead channels from exploding.
        variance = variance.flip(0)[:dimensions].clamp_min(1e-8)
        weight = (axes.flip(1)[:, :dimensions] / variance.sqrt()).T.float()
        self.project.weight.copy_(weight[..., None, None])
        assert self.project.bias is not None
        self.project.bias.copy_(-weight @ mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)


class Coupling(nn.Module):
    """Mix channels orthogonally, then scale and shift one half given the other and a condition.

    `forward` returns (z, log_det) with log_det (B, H, W); `inverse` undoes it.
    """

    def __init__(self, dimensions: int, hidden: int, conditions: int, generator: torch.Generator):
        super().__init__()
        random = torch.randn(dimensions, dimensions, generator=generator)
        self.mix: Tensor = nn.Buffer(torch.linalg.qr(random)[0])
        self.kept = dimensions // 2
        self.changed = dimensions - self.kept
        last = nn.Conv2d(hidden, 2 * self.changed, 1)
        # Zero start: training begins at the Gaussian, as in Deep Residual Flow.
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.subnet = nn.Sequential(
            nn.Conv2d(self.kept + conditions, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            last,
        )

    def _scale_shift(self, kept: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.subnet(torch.cat([kept, condition], dim=1)).chunk(2, dim=1)
        return CLAMP * torch.tanh(log_scale / CLAMP), shift

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        x = F.conv2d(x, self.mix[..., None, None])
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self._scale_shift(kept, condition)
        z = torch.cat([kept, changed * log_scale.exp() + shift], dim=1)
        return z, log_scale.sum(dim=1)  # an orthogonal mix has log |det| = 0

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """Return x with forward(x)[0] == z."""
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = self._scale_shift(kept, condition)
        x = torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=1)
        return F.conv2d(x, self.mix.T[..., None, None])


class DenseFlow(nn.Module):
    """Per-pixel log density of whitened features under a conditional affine flow.

    Input (B, D, H, W) and condition (B, K, H, W); `log_prob` returns (B, H, W) in nats.
    """

    def __init__(
        self,
        dimensions: int,
        layers: int = 4,
        hidden: int = 64,
        conditions: int = 2,
        seed: int = 0,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dimensions = dimensions
        self.couplings = nn.ModuleList(
            Coupling(dimensions, hidden, conditions, generator) for _ in range(layers)
        )

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z, log_det) with z like x and log_det (B, H, W)."""
        log_det = torch.zeros_like(x[:, 0])
        for coupling in self.couplings:
            x, step = coupling(x, condition)
            log_det = log_det + step
        return x, log_det

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """Return x with forward(x)[0] == z."""
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            z = coupling.inverse(z, condition)
        return z

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Log density in nats, (B, H, W)."""
        z, log_det = self(x, condition)
        return log_det - 0.5 * (z * z).sum(dim=1) - 0.5 * math.log(2 * math.pi) * self.dimensions


def position(height: int, width: int) -> Tensor:
    """Rows and columns in [-1, 1], (1, 2, H, W): roads look different at the top and bottom."""
    rows = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(1, 1, height, width)
    columns = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(1, 1, height, width)
    return torch.cat([rows, columns], dim=1)


class TapFlow(nn.Module):
    """Taps to a density map (B, 1, H/4, W/4): mean negative log density per dimension, in nats.

    `taps` names the inputs; all are brought to the coarsest of them (`size`, rows and columns).
    """

    def __init__(
        self,
        taps: Sequence[str],
        channels: int,
        size: tuple[int, int],
        map_size: tuple[int, int],
        flow: DenseFlow,
    ):
        super().__init__()
        self.taps = tuple(taps)
        self.map_size = map_size
        self.whitening = Whitening(channels, flow.dimensions)
        self.flow = flow
        self.position: Tensor = nn.Buffer(position(*size), persistent=False)

    def gather(self, taps: Mapping[str, Tensor]) -> Tensor:
        """Concatenate the taps at the coarsest resolution, (B, C, h, w)."""
        columns = self.position.shape[-1]
        parts = []
        for name in self.taps:
            x = taps[name]
            factor = round(x.shape[-1] / columns)
            if factor > 1:
                x = F.avg_pool2d(x, factor)
            parts.append(x)
        return torch.cat(parts, dim=1)

    def forward(self, taps: Mapping[str, Tensor]) -> Tensor:
        x = self.whitening(self.gather(taps))
        condition = self.position.to(x.dtype).expand(len(x), -1, -1, -1)
        z, log_det = self.flow(x, condition)
        # Mean, not sum: the number of dimensions must not set the range (half precision).
        density = 0.5 * (z * z).mean(dim=1) - log_det / self.flow.dimensions
        return F.interpolate(density[:, None], size=self.map_size, mode='bilinear')
