"""LaREM and LaRED: how likely the latent entropies of a frame are (Arnez et al., UAI 2024)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.base import (
    NotApplicableError,
)
from offline_training.detectors.larex.latent_entropy import knn_entropy, mask_weights, masked_means
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.learning.session import QUIET, Session
from offline_training.watched.base import Seen, Watched

PAPER = (
    'Arnez et al., Latent Representation Entropy Density for Distribution Shift Detection, 2024'
)
Feature = Literal['entropy', 'mean']
FRAMES_PER_COMPONENT = 4
"""Frames that `fit` wants for each direction it keeps: with fewer it keeps fewer directions."""


class LatentDensity(OnePassDetector):
    """Score of a frame from one vector with a number per channel of one tap.

    The masks are drawn in `fit` and saved, so that a frame has one score. It can be exported with
    the masks as constants.

    Args:
        tap: name of the tap; None takes the coarsest, of several the one with most channels.
        feature: `entropy` of every channel, or its `mean` (LaRD) without any mask.
        samples: M, masks per frame.
        block_size: side of the dropped blocks in cells of the tap.
        drop_prob: expected share of dropped cells, overlaps not counted.
        neighbors: k of the entropy's nearest neighbours.
        components: principal directions that are kept, at most one per `FRAMES_PER_COMPONENT`
            frames; None keeps all, where there are far more frames than channels.
        batch_size: frames per forward pass in `fit`.
        seed: of the masks.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        tap: str | None,
        feature: Feature,
        samples: int,
        block_size: int,
        drop_prob: float,
        neighbors: int,
        components: int | None,
        batch_size: int,
        seed: int,
        **others: Any,
    ):
        super().__init__(
            tap=tap,
            feature=feature,
            samples=samples,
            block_size=block_size,
            drop_prob=drop_prob,
            neighbors=neighbors,
            components=components,
            batch_size=batch_size,
            seed=seed,
            **others,
        )
        name = self.name
        if feature not in get_args(Feature):
            raise ValueError(
                f'{name} has feature {feature!r}; choose one of {", ".join(get_args(Feature))}'
            )
        counts = {'samples': 2, 'block_size': 1, 'neighbors': 1, 'components': 1, 'batch_size': 1}
        for setting, least in counts.items():
            value = self.settings[setting]
            if value is not None and value < least:
                raise ValueError(f'{name} has {setting} {value}; give {least} or more')
        if not 0 < drop_prob < 1:
            raise ValueError(f'{name} has drop_prob {drop_prob}; give a share between 0 and 1')
        self.weights: Tensor = nn.Buffer(torch.empty(0))  # (M, H, W)
        self.center: Tensor = nn.Buffer(torch.empty(0))  # (C,)
        self.axes: Tensor = nn.Buffer(torch.empty(0))  # (C, D)

    @abstractmethod
    def _fit_density(self, z: Tensor, deviations: Tensor) -> Tensor:
        """Learn from z float64 (N, D), whose columns deviate so much (D,); return scales (D,)."""

    @abstractmethod
    def _score(self, z: Tensor) -> Tensor:
        """Return the scores (B,) of scaled principal coordinates (B, D)."""

    def chosen(self, taps: Mapping[str, Tensor]) -> str:
        """Return the name of the tap (B, C, H, W) that is looked at."""
        name: str | None = self.settings['tap']
        if name is None:
            name = max(
                list(taps)[::-1],
                key=lambda each: (-taps[each].shape[2] * taps[each].shape[3], taps[each].shape[1]),
            )
        if name not in taps:
            raise NotApplicableError(
                f'the network has no tap {name!r} but {", ".join(taps)}; correct the tap of '
                f'{self.name}'
            )
        return name

    def channels(self, tap: Tensor) -> Tensor:
        """Return the numbers (B, C) that describe the channels of a tap (B, C, H, W).

        Raises:
            ValueError: the tap has another size than the masks.
        """
        if self.settings['feature'] == 'mean':
            return tap.mean(dim=(2, 3))
        if tap.shape[2:] != self.weights.shape[1:]:
            raise ValueError(
                f'{self.name} has masks of {tuple(self.weights.shape[1:])} for a tap of '
                f'{tuple(tap.shape[2:])}; fit it on frames of the size that it is to score'
            )
        # Distances do not see a shift, and small ones would drown in the rounding of large means.
        spread = tap - tap.mean(dim=(2, 3), keepdim=True)
        return knn_entropy(masked_means(spread, self.weights), self.settings['neighbors'])

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Draw the masks and learn the density; labels are not looked at.

        Raises:
            ValueError: too few frames, or frames that do not differ.
            NotApplicableError: the tap is missing or too small for the blocks.
        """
        if len(frames.images) < FRAMES_PER_COMPONENT:
            raise ValueError(
                f'{len(frames.images)} frames are too few; fit on {FRAMES_PER_COMPONENT} at least'
            )
        self.to(watched.device)
        vectors: list[Tensor] = []
        for images, _ in frames.batches(self.settings['batch_size'], watched.device):
            with torch.no_grad():
                taps = watched.look(images).taps
                tap = taps[self.chosen(taps)]
                if not vectors:
                    self._draw_masks(tap)
                vectors.append(self.channels(tap).cpu())
        h = torch.cat(vectors).double()
        center = h.mean(dim=0)
        axes, deviations = principal_axes(h - center, self._most_components(len(h)))
        scales = self._fit_density((h - center) @ axes, deviations)
        self.center = center.float()
        self.axes = (axes / scales).float()
        return self.to(watched.device)

    @property
    def fitted(self) -> bool:
        return self.center.numel() > 0

    def frame_of(self, watched: Watched, seen: Seen) -> Tensor:
        channels = self.channels(seen[self.chosen(seen.taps)])
        return self._score(torch.matmul(channels - self.center, self.axes))

    def _most_components(self, frames: int) -> int:
        wanted: int | None = self.settings['components']
        return frames if wanted is None else min(wanted, frames // FRAMES_PER_COMPONENT)

    def _draw_masks(self, tap: Tensor) -> None:
        if self.settings['feature'] == 'mean':
            return
        height, width = tap.shape[2:]
        block = self.settings['block_size']
        if 2 * block > min(height, width):
            raise NotApplicableError(
                f'{self.name} has block_size {block} for a tap of {height}x{width} cells, '
                'where blocks have hardly two places; choose a smaller block_size or a finer tap'
            )
        generator = torch.Generator().manual_seed(self.settings['seed'])
        self.weights = mask_weights(
            (height, width), self.settings['samples'], block, self.settings['drop_prob'], generator
        ).to(tap.device)


def principal_axes(x: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return principal directions (C, D) of centred x (N, C), D <= `most`, and deviations (D,).

    The deviation is that of the N samples, divided by N. Directions without any are left out.

    Raises:
        ValueError: no direction has any.
    """
    _, singular, directions = torch.linalg.svd(x, full_matrices=False)
    rounding = max(x.shape) * torch.finfo(torch.float32).eps
    kept = min(most, int((singular > rounding * singular[0]).sum()))
    if not kept:
        raise ValueError(f'{len(x)} frames do not differ; fit on frames of different scenes')
    return directions[:kept].T, singular[:kept] / math.sqrt(len(x))


class LaREM(LatentDensity):
    """Squared Mahalanobis distance of a frame's latent entropies from those of normal driving.

    See `LatentDensity` for the arguments. Whitened or not, the distance is the same.
    """

    name = 'larem'
    paper = f'{PAPER} (Mahalanobis distance)'
    inputs = 'taps'

    def __init__(
        self,
        tap: str | None = None,
        feature: Feature = 'entropy',
        samples: int = 16,
        block_size: int = 8,
        drop_prob: float = 0.5,
        neighbors: int = 5,
        components: int | None = 256,
        batch_size: int = 8,
        seed: int = 0,
    ):
        super().__init__(
            tap, feature, samples, block_size, drop_prob, neighbors, components, batch_size, seed
        )

    def _fit_density(self, z: Tensor, deviations: Tensor) -> Tensor:
        return deviations

    def _score(self, z: Tensor) -> Tensor:
        return (z * z).sum(dim=1)


class LaRED(LatentDensity):
    """Negative log density of a frame's latent entropies, by Gaussian kernels on normal driving.

    The arguments that `LatentDensity` does not have:
        whiten: scale the principal coordinates to variance 1 first.
        bandwidth: standard deviation of the kernels.

    Raises:
        ValueError: `bandwidth` is not positive, or see `LatentDensity`.
    """

    name = 'lared'
    paper = f'{PAPER} (kernel density)'
    inputs = 'taps'

    def __init__(
        self,
        tap: str | None = None,
        feature: Feature = 'entropy',
        samples: int = 16,
        block_size: int = 8,
        drop_prob: float = 0.5,
        neighbors: int = 5,
        components: int | None = 56,
        batch_size: int = 8,
        seed: int = 0,
        whiten: bool = True,
        bandwidth: float = 1.0,
    ):
        if not 0 < bandwidth < math.inf:
            raise ValueError(f'lared has bandwidth {bandwidth}; give one above 0')
        super().__init__(
            tap,
            feature,
            samples,
            block_size,
            drop_prob,
            neighbors,
            components,
            batch_size,
            seed,
            whiten=whiten,
            bandwidth=bandwidth,
        )
        self.stored: Tensor = nn.Buffer(torch.empty(0))  # (N, D)

    def _fit_density(self, z: Tensor, deviations: Tensor) -> Tensor:
        # In bandwidths, so that every kernel has width 1.
        scales = torch.full_like(deviations, self.settings['bandwidth'])
        if self.settings['whiten']:
            # By N - 1, as the original's PCA does.
            scales *= deviations * math.sqrt(len(z) / (len(z) - 1))
        self.stored = (z / scales).float()
        return scales

    def _score(self, z: Tensor) -> Tensor:
        count, dimensions = self.stored.shape
        # -|z - s|^2 / 2, multiplied out: (B, N) numbers, not (B, N, D).
        ours = (z * z).sum(dim=1, keepdim=True)
        theirs = (self.stored * self.stored).sum(dim=1)
        exponent = torch.matmul(z, self.stored.T) - 0.5 * (ours + theirs)
        # The shift is spelled out: the fused operator overflows in half precision.
        peak = exponent.amax(dim=1, keepdim=True)
        log_sum = peak[:, 0] + (exponent - peak).exp().sum(dim=1).log()
        volume = 0.5 * math.log(2 * math.pi) + math.log(self.settings['bandwidth'])
        return math.log(count) + dimensions * volume - log_sum
