"""Mahalanobis distance per layer (Lee et al., NeurIPS 2018), of whole frames and of pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.layer_density.held_out import (
    Indices,
    split,
    thinned,
)
from offline_training.detectors.layer_density.layer_densities import LayerDensities, Weighing
from offline_training.detectors.layer_density.tied_gaussian import ClassMoments, TiedGaussian
from offline_training.learning.session import QUIET, Session
from offline_training.watched.base import Seen, Watched
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE


class TapDistance(nn.Module):
    """Tap (B, C, h, w) to the squared distance from the nearest class mean, (B, 1, h, w).

    |W (x - m_k)|^2 is computed as |z|^2 - 2 z m_k + |m_k|^2 after the middle of the means is taken
    out: two 1x1 convolutions. The distance is per dimension, because a sum over hundreds of them
    overflows in half precision. `forward` standardises it to normal driving.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projection: Tensor = nn.Buffer(torch.empty(0))  # (D, C, 1, 1)
        self.offset: Tensor = nn.Buffer(torch.empty(0))  # (D,)
        self.means: Tensor = nn.Buffer(torch.empty(0))  # (K, D, 1, 1)
        self.center: Tensor = nn.Buffer(torch.zeros(()))
        self.spread: Tensor = nn.Buffer(torch.ones(()))

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


MAP_FRAMES = 64
"""Frames, evenly spread, that maps are learnt from, and at most as many to standardise them."""


class Mahalanobis(LayerDensities):
    """Distance to the class means in the tied covariance of every layer.

    Whole frames: of pooled taps, see `LayerDensities` for the arguments. Maps, of segmentation
    networks only: of every cell of every tap to the nearest class, see `MahalanobisMap`.
    """

    name = 'mahalanobis'
    paper = (
        'Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples '
        'and Adversarial Attacks, 2018'
    )
    inputs = 'logits, taps'

    def __init__(
        self,
        taps: Sequence[str] | None = None,
        min_share: float = 0.005,
        whole_frame: bool = True,
        weighing: Weighing = 'regression',
        cut: float = 1e-3,
        epsilon: float = 2.5,
        noise: float = 3.0,
        magnitudes: Sequence[float] = (0.0,),
        batch_size: int = 8,
        seed: int = 0,
    ):
        super().__init__(
            taps,
            min_share,
            whole_frame,
            weighing,
            cut,
            epsilon,
            noise,
            magnitudes,
            batch_size,
            seed,
        )
        self.map: MahalanobisMap | None = None

    def _couplings(self, classes: int, dimensions: int) -> None:
        return None

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Fit Gaussians on three quarters of the frames, all else on the others.

        Raises:
            ValueError: too few frames, or no label at all.
            NotApplicableError: the network does not have one of the taps.
        """
        learned, held_out = split(len(frames.images))
        self._fit_gaussians(self._collect(watched, frames, learned))
        self._calibrate(watched, frames, held_out, self._collect(watched, frames, held_out))
        if frames.labels[0].ndim == 2:
            self._fit_map(
                watched, frames, thinned(learned, MAP_FRAMES), thinned(held_out, MAP_FRAMES)
            )
        return self

    @property
    def has_map(self) -> bool:
        return self.map is not None or not self.fitted

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        if self.map is None:
            raise TypeError(
                'mahalanobis was fitted on a classifier and has no map; use score_frame'
            )
        size = seen['labels'].shape[1] // MAP_STRIDE, seen['labels'].shape[2] // MAP_STRIDE
        score: Tensor = self.map(self.chosen(seen), size)
        return score[:, 0]

    def _fit_map(
        self, watched: Watched, frames: Frames, learned: Indices, held_out: Indices
    ) -> None:
        """Fit the distances to all cells with a label, and standardise them on held-out cells."""
        device, batch = watched.device, self.settings['batch_size']
        moments: list[ClassMoments] = []
        for images, labels in frames.subset(learned).batches(batch, device):
            with torch.no_grad():
                taps = self.chosen(watched.look(images))
            moments = moments or [
                ClassMoments(watched.num_classes, tap.shape[1], device) for tap in taps
            ]
            for layer, tap in zip(moments, taps, strict=True):
                cells = (
                    F.interpolate(
                        labels[:, None].float(), size=tap.shape[2:], mode='nearest-exact'
                    )
                    .long()
                    .flatten()
                )
                known = cells < watched.num_classes
                layer.update(tap.movedim(1, 3).flatten(0, 2)[known], cells[known])
        distances = [
            TapDistance.of(TiedGaussian.of(layer, self.settings['cut'])).to(device)
            for layer in moments
        ]
        spreads = [ClassMoments(1, 1, device) for _ in distances]
        for images, _ in frames.subset(held_out).batches(batch, device):
            with torch.no_grad():
                taps = self.chosen(watched.look(images))
                for spread, distance, tap in zip(spreads, distances, taps, strict=True):
                    cells = distance.squared(tap).reshape(-1, 1)
                    spread.update(cells, torch.zeros_like(cells[:, 0], dtype=torch.long))
        for spread, distance in zip(spreads, distances, strict=True):
            distance.center = spread.mean[0, 0].float()
            variance = spread.scatter[0, 0] / spread.count[0]
            distance.spread = variance.sqrt().clamp_min(1e-6).float()
        self.map = MahalanobisMap(distances)

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take over saved tensors, with a map if one was fitted."""
        count = sum(name.startswith('map.') and name.endswith('.center') for name in tensors)
        if count:
            self.map = MahalanobisMap(TapDistance() for _ in range(count))
        super().adopt(tensors)
