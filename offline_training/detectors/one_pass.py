"""Detectors that score what one pass of the watched network gives, and so can be exported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from offline_training.detectors.base import Detector, top_mean
from offline_training.watched.base import Seen, Watched
from offline_training.watched.export import ExportedNetwork, export_network, gate_looks
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE

Detection = TypeVar('Detection', bound='OnePassDetector')


class OnePassDetector(Detector):
    """Base of detectors whose score is a function of `Seen`; subclasses give `map_of`, `frame_of`.

    Torch and the exported network run that same function, so that the robot computes what was
    compared and calibrated.
    """

    def activations(self, watched: Watched, images: Tensor) -> Sequence[str]:
        """Return the inner activations that it reads, in the names of `watched.activations`."""
        return ()

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        """Return one score per pixel (B, H', W'); of `watched` only constants may be used."""
        raise NotImplementedError

    def frame_of(self, watched: Watched, seen: Seen) -> Tensor:
        """Return one score per image (B,)."""
        return top_mean(self.map_of(watched, seen))

    @property
    def fitted(self) -> bool:
        """Whether it has learnt what it scores with."""
        return True

    @property
    def exportable(self) -> bool:
        return True

    @property
    def has_map(self) -> bool:
        return type(self).map_of is not OnePassDetector.map_of

    @property
    def has_frame_score(self) -> bool:
        return type(self).frame_of is not OnePassDetector.frame_of

    @property
    def shares_features(self) -> bool:
        return True

    def look(self, watched: Watched, images: Tensor) -> Seen:
        """Return what `map_of` and `frame_of` need of images (B, H, W, 3).

        Raises:
            RuntimeError: nothing has been fitted or loaded.
        """
        if not self.fitted:
            raise RuntimeError(f'{self.name} has not been fitted; call fit or load first')
        return watched.look(images, self.activations(watched, images))

    def score_map(self, watched: Watched, images: Tensor) -> Tensor:
        if not self.has_map:
            return super().score_map(watched, images)
        with torch.no_grad():
            return self.map_of(watched, self.look(watched, images))

    def score_frame(self, watched: Watched, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.frame_of(watched, self.look(watched, images))

    def export(self, watched: Watched, images: Tensor, folder: Path) -> list[ExportedNetwork]:
        """Write what a bundle needs of this detector to `folder`, in the order in which it runs.

        Here one network, NAME.onnx: its outputs are the map `NAME`, float32 (1, 1, H/4, W/4), and
        `NAME_frame` (1,) where frames have a score of their own. Its inputs are named as in
        `Seen`, for `watched.export.export_watched`. The gates run on images (N, H, W, 3).

        Raises:
            GateError: an engine does not agree with torch.
            RuntimeError: nothing has been fitted or loaded.
        """
        watched, detector = on_cpu(watched, self)

        def outputs(seen: Seen) -> dict[str, Tensor]:
            found = {}
            if detector.has_map:
                size = tuple(side // MAP_STRIDE for side in images.shape[1:3])
                found[self.name] = at_size(detector.map_of(watched, seen), *size)[:, None]
            if detector.has_frame_score:
                found[f'{self.name}_frame'] = detector.frame_of(watched, seen)
            return found

        looks = gate_looks(images, lambda image: detector.look(watched, image))
        return [export_network(self.name, detector, outputs, looks, folder)]


def on_cpu(watched: Watched, detector: Detection) -> tuple[Watched, Detection]:
    """Return copies on the CPU, in evaluation mode, that belong together."""
    watched, detector = copy.deepcopy((watched, detector))
    return watched.cpu(), detector.cpu().eval()


def at_size(score_map: Tensor, rows: int, columns: int) -> Tensor:
    """Bring maps (B, H, W) to (B, rows, columns): finer ones are averaged, others interpolated."""
    if score_map.shape[1] % rows == 0 and score_map.shape[2] % columns == 0:
        factor = score_map.shape[1] // rows, score_map.shape[2] // columns
        return score_map if factor == (1, 1) else F.avg_pool2d(score_map[:, None], factor)[:, 0]
    return F.interpolate(score_map[:, None], (rows, columns), mode='bilinear')[:, 0]
