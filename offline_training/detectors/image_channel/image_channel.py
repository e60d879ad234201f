"""The image channel under the contract of detectors: one pass, three statistics of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.image_channel.image_statistics import (
    NAMES,
    ImageStatistics,
    TapFeatures,
    deepest,
    tap_features,
)
from offline_training.detectors.one_pass import OnePassDetector, on_cpu
from offline_training.learning.session import QUIET, Session
from offline_training.learning.settings import setting, settings
from offline_training.perturbations import PERTURBATIONS, SEEN_IN_TRAINING, perturb
from offline_training.watched.base import Seen, Watched
from offline_training.watched.export import ExportedNetwork, export_network, gate_looks
from ros2_ood_monitor.frame import UInt8Array


@dataclass(frozen=True)
@settings('image')
class ImageConfig:
    """Image channel: statistics of the deepest tap over the whole frame."""

    components: int = setting(
        60, 'Principal components of the moments that are kept.', low=1, high=10_000
    )
    degraded_frames: int = setting(
        60,
        'Normal frames that are degraded in seven ways to learn what bad images look like.',
        low=1,
        high=100_000,
    )
    seed: int = setting(1, 'Seed of the degraded frames.', low=0, high=2**31 - 1)


SEEN_KINDS = tuple(kind for kind in PERTURBATIONS if kind in SEEN_IN_TRAINING)
LEAST_SEVERITY = 0.2
OUTPUT = 'image_statistics'
"""The exported tensor, float32 (1, 3), in the order of `image_statistics.NAMES`."""


class ImageChannel(OnePassDetector):
    """How unlike the normal frames an image is as a whole, from moments and layout of a tap.

    Args:
        components: principal components of the moments.
        degraded_frames: how many frames are degraded, each in every way of `SEEN_KINDS`.
        seed: of the degraded frames.
        color_order: of the images of the frames, as perturbations work on RGB.
    """

    name = 'image_channel'
    paper = (
        'this package, 2026: moments of the deepest tap in a shrunk Gaussian, after Lee et al., '
        '2018, a linear view quality and the layout of the tap'
    )
    inputs = 'taps'

    def __init__(
        self,
        components: int = 60,
        degraded_frames: int = 60,
        seed: int = 1,
        color_order: Literal['rgb', 'bgr'] = 'rgb',
    ):
        super().__init__(
            components=components,
            degraded_frames=degraded_frames,
            seed=seed,
            color_order=color_order,
        )
        self.statistics = ImageStatistics()
        self.center: Tensor = nn.Buffer(torch.zeros(len(NAMES)))
        self.spread: Tensor = nn.Buffer(torch.ones(len(NAMES)))

    @property
    def fitted(self) -> bool:
        return self.statistics.center.numel() > 0

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Fit on normal frames and on degraded copies of some of them.

        Raises:
            ValueError: fewer than three frames.
        """
        self.fit_features(
            self.features(watched, frames.images), self.features(watched, self.degraded(frames))
        )
        return self

    def fit_features(self, normal: TapFeatures, degraded: TapFeatures) -> None:
        """Fit on features; cheap, so that it can be repeated without some of the frames."""
        self.statistics = ImageStatistics.of(normal, degraded, self.settings['components'])
        self.statistics.to(normal.moments.device)
        values = self.statistics(normal)
        self.center, self.spread = values.mean(dim=0), values.std(dim=0).clamp_min(1e-6)

    def degraded_indices(self, count: int) -> list[int]:
        """Return of which of `count` frames each degraded copy is: evenly spread ones."""
        chosen = min(count, self.settings['degraded_frames'])
        spread = np.linspace(0, count - 1, chosen).round().astype(int)
        return [int(index) for index in spread for _ in SEEN_KINDS]

    def degraded(self, frames: Frames) -> Iterator[UInt8Array]:
        """Yield degraded copies of `degraded_indices`: of each frame one of every seen kind."""
        step = -1 if self.settings['color_order'] == 'bgr' else 1
        for number, index in enumerate(self.degraded_indices(len(frames))):
            image = np.ascontiguousarray(frames[index][0][..., ::step])
            rng = np.random.default_rng((self.settings['seed'], number))
            kind, severity = SEEN_KINDS[number % len(SEEN_KINDS)], rng.uniform(LEAST_SEVERITY, 1)
            shown = perturb(kind, image, severity, int(rng.integers(2**31)))
            yield np.ascontiguousarray(shown[..., ::step])

    def features(self, watched: Watched, images: Iterable[UInt8Array]) -> TapFeatures:
        """Return the features of images (H, W, 3), looked at one by one."""
        found = []
        with torch.no_grad():
            for image in images:
                pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
                found.append(_features(watched.look(pixels.to(watched.device))))
        return TapFeatures(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def statistics_of(self, seen: Seen) -> Tensor:
        """Return the statistics (B, 3) in deviations of the frames that it was fitted on."""
        return self.standardised(_features(seen))

    def standardised(self, features: TapFeatures) -> Tensor:
        """Return the statistics (B, 3) of features, likewise."""
        values: Tensor = self.statistics(features)
        return (values - self.center) / self.spread

    def frame_of(self, watched: Watched, seen: Seen) -> Tensor:
        return self.statistics_of(seen).amax(dim=1)

    def export(self, watched: Watched, images: Tensor, folder: Path) -> list[ExportedNetwork]:
        """Write image_channel.onnx: the statistics as `OUTPUT` (1, 3), and the frame score.

        Raises:
            GateError: see `OnePassDetector.export`.
        """
        watched, detector = on_cpu(watched, self)

        def outputs(seen: Seen) -> dict[str, Tensor]:
            statistics = detector.statistics_of(seen)
            return {OUTPUT: statistics, f'{self.name}_frame': statistics.amax(dim=1)}

        looks = gate_looks(images, lambda image: detector.look(watched, image))
        return [export_network(self.name, detector, outputs, looks, folder)]


def _features(seen: Seen) -> TapFeatures:
    # By its name, so that no other tap counts as read and is computed for this network.
    return tap_features(seen[deepest(seen.taps)])
