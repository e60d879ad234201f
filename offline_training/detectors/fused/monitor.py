"""The four maps of this package, fused as on the robot, under the contract of detectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.calibration.fusion import fit_fusion
from offline_training.data.base import VOID
from offline_training.data.frames import Frames
from offline_training.detectors.combined import CombinedDetector
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.network_detector import NetworkDetector
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.detectors.one_pass import on_cpu
from offline_training.synthesis.negatives import Negatives, held_out_negatives
from offline_training.synthesis.pasted_frames import pasted_frames
from offline_training.watched.base import Seen, Watched
from offline_training.watched.export import ExportedNetwork, export_network, gate_looks
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, FusedMap, Fusion
from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.inference.fusion import fused_logits

SOURCES = {
    'energy': ('energy', 0),
    'density': ('density', 0),
    'unknown': ('observer', 0),
    'error': ('observer', 1),
}
"""The maps that are fused, in this order, with the exported tensor, and plane in it, of each."""
OWN_CHANNELS = ('density', 'unknown')
"""Maps of flow and observer that are channels of their own where the fusion does without them."""
BATCH = 6
HELD_OUT = held_out_negatives(None)
PIXELS = 200_000
"""Pixels at most that the fusion is fitted on."""


class Monitor(CombinedDetector):
    """Log odds that a map pixel (B, H/4, W/4) shows something unknown, from four maps.

    Energy of the logits, density of the flow, and both logits of the observer, standardised and
    weighted by a logistic regression on held-out frames with pasted objects.

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

    def __init__(
        self,
        observer: Mapping[str, Any] | None = None,
        flow: Mapping[str, Any] | None = None,
        seed: int = 0,
    ):
        super().__init__(observer=dict(observer or {}), flow=dict(flow or {}), seed=seed)
        self.observer = LightObserver(**self.settings['observer'])
        self.flow = DenseFlowDensity(**self.settings['flow'])
        # Rows: mean, deviation and weight of each map; the bias stands below the weights.
        self.table: Tensor = nn.Buffer(torch.empty(0, dtype=torch.float64))

    @classmethod
    def of(cls, observer: LightObserver, flow: DenseFlowDensity, seed: int) -> Self:
        """Combine fitted detectors; `fit_weights` is still to be called."""
        monitor = cls(observer.settings, flow.settings, seed)
        monitor.observer, monitor.flow = observer, flow
        return monitor

    def fit_weights(
        self, watched: Watched, frames: Frames, negatives: Negatives = HELD_OUT
    ) -> None:
        """Fit the fusion on the frames with and without pasted objects.

        The objects must be of families that the observer was not trained on, or it is overrated.

        Raises:
            CalibrationError: no map is higher on the pasted objects.
        """
        truths: list[UInt8Array] = []

        def pasted() -> Iterator[UInt8Array]:
            for frame in pasted_frames(frames, self.settings['seed'], negatives):
                truths.append(frame.truth)
                yield frame.image

        normal = self.maps_over(watched, frames.images)
        values = self.maps_over(watched, pasted())
        truth = np.stack(truths).ravel()
        chosen = np.flatnonzero(truth != VOID)
        rng = np.random.default_rng(self.settings['seed'])
        chosen = rng.choice(chosen, min(PIXELS, chosen.size), replace=False)
        self.set_fusion(
            fit_fusion(
                SOURCES,
                normal,
                {name: value.ravel()[chosen] for name, value in values.items()},
                truth[chosen],
            )
        )

    def set_fusion(self, fusion: Fusion) -> None:
        """Weight the maps as `fusion` says, whose maps must be those of `SOURCES`."""
        names = [each.name for each in fusion.maps]
        if names != list(SOURCES):
            raise ValueError(f'the fusion is of {", ".join(names)}, not {", ".join(SOURCES)}')
        rows = [*((each.mean, each.std, each.weight) for each in fusion.maps), (0, 1, fusion.bias)]
        self.table = torch.tensor(rows, dtype=torch.float64)

    @property
    def fusion(self) -> Fusion:
        """How the maps are weighted."""
        *rows, (_, _, bias) = self.table.tolist()
        maps = (
            FusedMap(name, *source, *row)
            for (name, source), row in zip(SOURCES.items(), rows, strict=True)
        )
        return Fusion(tuple(maps), bias)

    @property
    def channels(self) -> dict[str, Fusion]:
        """The fusion of each channel of a bundle: `object`, and of parts that it does without.

        So flow and observer are always heard, whatever the regression thinks of pasted objects.
        """
        fusion = self.fusion
        found = {DEFAULT_CHANNEL: fusion}
        heard = {each.tensor for each in fusion.maps if each.weight}
        for each in fusion.maps:
            if each.name in OWN_CHANNELS and each.tensor not in heard:
                found[each.name] = Fusion((replace(each, weight=1.0),), 0.0)
        return found

    @property
    def fitted(self) -> bool:
        return self.table.numel() > 0

    def maps(self, seen: Seen) -> dict[str, Tensor]:
        """Return the maps (B, H/4, W/4) by name."""
        tensors = {
            'energy': seen['energy'],
            'density': self.flow.call(seen),
            'observer': self.observer.call(seen),
        }
        return {name: tensors[source][:, plane] for name, (source, plane) in SOURCES.items()}

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        maps = {name: value.float().cpu().numpy() for name, value in self.maps(seen).items()}
        return torch.from_numpy(fused_logits(maps, self.fusion)).to(watched.device)

    def stream(
        self, watched: Watched, images: Iterable[UInt8Array]
    ) -> Iterator[dict[str, Float32Array]]:
        """Yield the maps (H/4, W/4) of one image after the other; small batches, for speed."""
        remaining = iter(images)
        while batch := list(islice(remaining, BATCH)):
            pixels = torch.from_numpy(np.stack(batch)).to(watched.device)
            with torch.no_grad():
                maps = self.maps(watched.look(pixels, self.activations(watched, pixels)))
            arrays = {name: value.float().cpu().numpy() for name, value in maps.items()}
            for index in range(len(batch)):
                yield {name: array[index] for name, array in arrays.items()}

    def maps_over(self, watched: Watched, images: Iterable[UInt8Array]) -> dict[str, Float32Array]:
        """Return the maps (N, H/4, W/4) of all images by name."""
        found = list(self.stream(watched, images))
        return {name: np.stack([maps[name] for maps in found]) for name in SOURCES}

    def export(self, watched: Watched, images: Tensor, folder: Path) -> list[ExportedNetwork]:
        """Write flow.onnx and observer.onnx, whose outputs `channels` name; the robot fuses them.

        Raises:
            GateError: see `OnePassDetector.export`.
        """
        watched, monitor = on_cpu(watched, self)
        looks = gate_looks(images, lambda image: monitor.look(watched, image))

        def export(name: str, part: NetworkDetector, tensor: str) -> ExportedNetwork:
            def outputs(seen: Seen) -> dict[str, Tensor]:
                return {tensor: part.call(seen)}

            return export_network(name, part, outputs, looks, folder)

        return [
            export('flow', monitor.flow, 'density'),
            export('observer', monitor.observer, 'observer'),
        ]
