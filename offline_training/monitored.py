"""The trained chain in torch: one picture in, the maps the robot will compute out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from offline_training.attacks.pasting import paste_objects
from offline_training.backbones.base import Backbone
from offline_training.context import Context, NetworkData
from offline_training.data.base import VOID
from offline_training.detectors.flow import TapFlow
from offline_training.detectors.observer import Observer
from offline_training.graphs import detector_maps
from offline_training.normalization import Normalize
from offline_training.stages import flow as flow_stage
from offline_training.stages import observer as observer_stage
from ros2_ood_monitor.manifest import MAP_STRIDE

MAPS = ('energy', 'density', 'unknown', 'error')
IGNORE = 255
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
        """Return the maps float32 (H/4, W/4) of one picture (H, W, 3) in model colour order."""
        (maps,) = self.stream([image])
        return maps

    def stream(
        self, images: Iterable[NDArray[np.uint8]]
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield the maps of one picture after the other; small batches, which is faster."""
        device = next(self.backbone.parameters()).device
        pictures = iter(images)
        while batch := list(islice(pictures, BATCH)):
            with torch.inference_mode():
                pixels = torch.from_numpy(np.stack(batch)).to(device)
                maps = detector_maps(
                    self.backbone, self.flow, self.observer, self.normalize(pixels)
                )
            arrays = {name: maps[name].float().cpu().numpy() for name in MAPS}
            for index in range(len(batch)):
                yield {name: array[index] for name, array in arrays.items()}


@dataclass(frozen=True, eq=False)
class PastedFrame:
    """A normal picture with pasted unknowns; `truth` uint8 (H/4, W/4): 1 unknown, 255 ignored."""

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def pasted_frames(data: NetworkData, seed: int) -> Sequence[PastedFrame]:
    """Paste objects into every picture of `data`, the same ones for the same seed."""
    rng = np.random.default_rng((seed, 7919))
    frames = []
    for image, labels in zip(data.images, data.labels, strict=True):
        donor = data.images[int(rng.integers(len(data.images)))]
        pasted, mask = paste_objects(rng, image, donor)
        frames.append(PastedFrame(pasted, _map_truth(mask, labels)))
    return frames


def _map_truth(mask: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a full-size mask to map resolution; rims of objects and void are ignored."""
    cover, void = _share(mask > 0), _share(labels == VOID)
    truth = (cover > 0.5).astype(np.uint8)
    truth[(cover <= 0.5) & ((cover > 0) | (void > 0.5))] = IGNORE
    return truth


def _share(flags: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over blocks of one map pixel."""
    rows, columns = (side // MAP_STRIDE for side in flags.shape)
    blocks = flags.reshape(rows, MAP_STRIDE, columns, MAP_STRIDE)
    return np.asarray(blocks.mean(axis=(1, 3)))


def stack(maps: Sequence[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    """Stack the maps of several frames by name, (N, H/4, W/4)."""
    return {name: np.stack([frame[name] for frame in maps]) for name in MAPS}
