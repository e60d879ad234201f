"""The four maps of this package, fused as on the robot, under the contract of detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from offline_training.calibration.calibration import fit_fusion
from offline_training.data.frames import Frames
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.layer_density.held_out import split
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.learning.session import QUIET, Session
from offline_training.synthesis.pasted_frames import IGNORE, pasted_frames
from offline_training.watched.base import Seen, Watched
from offline_training.watched.graphs import MAPS, SOURCES
from ros2_ood_monitor.bundle.manifest import Fusion
from ros2_ood_monitor.inference.fusion import STANDARD_SCORE_LIMIT


class Monitor(OnePassDetector):
    """Log odds that a map pixel (B, H/4, W/4) shows something unknown, from four maps.

    Energy of the logits, density of the flow, and both logits of the observer, standardised and
    weighed by a logistic regression on held-out frames with pasted objects.

    Args:
        observer: settings of `LightObserver`.
        flow: settings of `DenseFlowDensity`.
        seed: of the pasted objects.
    """

    name = 'monitor'
    paper = (
        'this package, 2026: after Besnier et al., 2021 (observer), Gudovskiy et al., 2022 '
        '(flow) and Liu et al., 2020 (energy)'
    )
    inputs = 'logits, taps'
    scale: Tensor

    def __init__(
        self,
        observer: Mapping[str, Any] | None = None,
        flow: Mapping[str, Any] | None = None,
        seed: int = 0,
    ):
        super().__init__(observer=dict(observer or {}), flow=dict(flow or {}), seed=seed)
        self.observer = LightObserver(**self.settings['observer'])
        self.flow = DenseFlowDensity(**self.settings['flow'])
        # Rows: mean, deviation and weight of each map; the bias stands beside the weights.
        self.register_buffer('scale', torch.empty(0))

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Train observer and flow on three quarters of the frames and the fusion on the others.

        Raises:
            ValueError: too few frames.
            CalibrationError: no map sees the pasted objects.
        """
        learned, held_out = split(len(frames.images))
        part, normal = frames.subset(learned), frames.subset(held_out)
        self.observer.fit(watched, part, session.part('observer'))
        self.flow.fit(watched, part, session.part('flow'))
        pasted = pasted_frames(normal.images, normal.labels, self.settings['seed'])
        truth = np.stack([frame.truth for frame in pasted])
        values = self._over(watched, [frame.image for frame in pasted])
        counted = truth != IGNORE
        self.set_fusion(
            fit_fusion(
                SOURCES,
                self._over(watched, normal.images),
                {name: value[counted] for name, value in values.items()},
                truth[counted],
            )
        )
        return self

    def set_fusion(self, fusion: Fusion) -> None:
        """Weigh the maps as `fusion` says, whose maps must be `MAPS`."""
        names = tuple(each.name for each in fusion.maps)
        if names != MAPS:
            raise ValueError(f'the fusion is of {", ".join(names)}, not {", ".join(MAPS)}')
        columns = ((each.mean, each.std, each.weight) for each in fusion.maps)
        device = next(self.observer.buffers(), self.scale).device
        self.scale = torch.tensor([*columns, (0.0, 1.0, fusion.bias)], device=device)

    @property
    def fitted(self) -> bool:
        return self.scale.numel() > 0

    def activations(self, watched: Watched, images: Tensor) -> Sequence[str]:
        return [
            *self.observer.activations(watched, images),
            *self.flow.activations(watched, images),
        ]

    def maps(self, watched: Watched, images: Tensor) -> dict[str, Tensor]:
        """Return the maps (B, H/4, W/4) by name."""
        with torch.no_grad():
            return self._maps(watched.look(images, self.activations(watched, images)))

    def _maps(self, seen: Seen) -> dict[str, Tensor]:
        observed = self.observer.call(seen)
        return {
            'energy': seen['energy'][:, 0],
            'density': self.flow.call(seen)[:, 0],
            'unknown': observed[:, 0],
            'error': observed[:, 1],
        }

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        maps = torch.stack([*self._maps(seen).values()], dim=-1)
        mean, deviation, weight = self.scale[:-1].T
        standard = (maps - mean) / deviation
        limited = standard.clamp(-STANDARD_SCORE_LIMIT, STANDARD_SCORE_LIMIT)
        return (weight * limited).sum(dim=-1) + self.scale[-1, 2]

    def _over(
        self, watched: Watched, images: Sequence[NDArray[np.uint8]]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the maps (N, H/4, W/4) of images, one after the other."""
        found = [
            self.maps(watched, torch.from_numpy(image)[None].to(watched.device))
            for image in images
        ]
        return {
            name: np.concatenate([each[name].float().cpu().numpy() for each in found])
            for name in MAPS
        }
