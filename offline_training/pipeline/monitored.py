"""The trained chain in torch: one image in, the maps the robot will compute out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from offline_training.detectors.dense_flow.flow import TapFlow
from offline_training.detectors.observer.observer import Observer
from offline_training.pipeline.context import Context
from offline_training.pipeline.stages import flow as flow_stage
from offline_training.pipeline.stages import observer as observer_stage
from offline_training.segmentation.backbones.base import Backbone
from offline_training.watched.graphs import MAPS, detector_maps
from offline_training.watched.normalization import Normalize

BATCH = 6


@dataclass(frozen=True, eq=False)
class MonitoredNetwork:
    """Backbone, flow and observer of one run, frozen."""

    backbone: Backbone
    flow: TapFlow
    observer: Observer
    normalize: Normalize

    @staticmethod
    def restore(context: Context) -> MonitoredNetwork:
        """Read the networks of `context`; raises StorageError if a stage has not run."""
        backbone = context.backbone()
        return MonitoredNetwork(
            backbone,
            flow_stage.restore(context, backbone),
            observer_stage.restore(context, backbone),
            context.normalize(),
        )

    def maps(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the maps float32 (H/4, W/4) of one image (H, W, 3) in model colour order."""
        (maps,) = self.stream([image])
        return maps

    def stream(
        self, images: Iterable[NDArray[np.uint8]]
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield the maps of one image after the other; small batches, which is faster."""
        device = next(self.backbone.parameters()).device
        remaining = iter(images)
        while batch := list(islice(remaining, BATCH)):
            with torch.inference_mode():
                pixels = torch.from_numpy(np.stack(batch)).to(device)
                maps = detector_maps(
                    self.backbone, self.flow, self.observer, self.normalize(pixels)
                )
            arrays = {name: maps[name].float().cpu().numpy() for name in MAPS}
            for index in range(len(batch)):
                yield {name: array[index] for name, array in arrays.items()}


def stack(maps: Sequence[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    """Stack the maps of several frames by name, (N, H/4, W/4)."""
    return {name: np.stack([frame[name] for frame in maps]) for name in MAPS}
