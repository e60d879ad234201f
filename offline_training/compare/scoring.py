"""Judge every frame of a source with every detector; what is stored is not judged again.

Per source and detector one file holds the frame scores (N,) and, where the truth is known per
pixel, the score maps (N, H / s, W / s). The stride s is one for all, usually that of the monitor's
own maps; finer maps are averaged, coarser ones interpolated. Measures are made from these files,
so they can change without judging again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from offline_training.compare.sources import JudgedFrame, Source
from offline_training.data.base import VOID, labels_at_size
from offline_training.detectors.base import Detector, top_mean
from offline_training.learning.store import keep_settings, read_tensors, write_json, write_tensors
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.watched.base import Watched

NETWORK = 'network'
"""Stored beside the detectors: what the watched network itself said."""


class RememberingWatched(Watched):
    """Looks once at an image that many detectors ask about.

    Only for detectors of one pass: others change the network between their passes. Where hooks
    watch the inner modules, the network runs, or there would be nothing to see.
    """

    def __init__(self, watched: Watched):
        super().__init__(watched.network, watched.normalize, watched.num_classes)
        self._seen: Tensor | None = None
        self._answer: tuple[Tensor, dict[str, Tensor]] | None = None

    def features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if images.requires_grad or any(map(_hooked, self.network.modules())):
            return super().features(images)
        if self._answer is None or images is not self._seen:
            with torch.no_grad():
                self._seen, self._answer = images, super().features(images)
        return self._answer


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def judge(
    source: Source,
    detectors: Mapping[str, Detector],
    watched: Watched,
    folder: Path,
    map_stride: int,
    bars: Progress,
) -> None:
    """Write the scores of a source that are not there yet to `folder`.

    Raises:
        StorageError: the folder holds scores of frames made with other settings.
        ValueError: a detector gave a score that is not finite; the message names both.
    """
    facts_path = folder / f'{NETWORK}.json'
    settings = {**source.settings, 'count': source.count}
    if source.maps:
        settings['map_stride'] = map_stride
    keep_settings(folder / 'settings.json', settings, f'scores of {source.name!r}')
    missing = {
        name: detector
        for name, detector in detectors.items()
        if not (folder / f'{name}.safetensors').is_file()
    }
    if not missing and facts_path.is_file():
        return
    shared = RememberingWatched(watched)
    predictions: list[Tensor] = []
    kept: dict[str, list[tuple[Tensor, Tensor | None]]] = {name: [] for name in missing}
    facts = _Facts(watched.num_classes)
    for index in bars.track(range(source.count), description=f'judging {source.name}'):
        frame = source.read(index)
        images = torch.from_numpy(frame.image)[None].to(watched.device)
        labels = shared.features(images)[0].argmax(dim=1)[0].to(torch.uint8).cpu()
        predicted = torch.where(labels < watched.num_classes, labels, VOID)
        facts.add(frame, predicted.numpy())
        predictions.append(predicted)
        for name, detector in missing.items():
            eye = shared if detector.shares_features else watched
            result = _scores(detector, eye, images, map_stride if source.maps else None)
            for tensor in result:
                if tensor is not None and not tensor.isfinite().all():
                    raise ValueError(
                        f'{name} gave a score that is no finite number for {frame.name} of '
                        f'{source.name}; leave the detector out and report this'
                    )
            kept[name].append(result)
    for name, results in kept.items():
        tensors = {'frame': torch.stack([frame for frame, _ in results])}
        maps = [score_map for _, score_map in results if score_map is not None]
        if maps:
            tensors['maps'] = torch.stack(maps)
        write_tensors(folder / f'{name}.safetensors', tensors)
    if source.maps:
        write_tensors(folder / f'{NETWORK}.safetensors', {'predictions': torch.stack(predictions)})
    # Last: its presence says that the network's part is complete.
    write_json(facts_path, facts.report())


def read_scores(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the stored frame scores (N,) and maps (N, h, w) of one detector, float32."""
    tensors = read_tensors(folder / f'{name}.safetensors')
    maps = tensors.get('maps')
    return tensors['frame'].numpy(), None if maps is None else maps.numpy()


def read_predictions(folder: Path) -> np.ndarray:
    """Return the labels uint8 (N, H, W) that the watched network gave; 255 = void."""
    return read_tensors(folder / f'{NETWORK}.safetensors')['predictions'].numpy()


def confusion(
    source: Source, predictions: np.ndarray, num_classes: int, every: int
) -> ConfusionMatrix:
    """Count truth against `predictions` (N, H, W) on every so many-th frame of a source."""
    matrix = ConfusionMatrix(num_classes)
    for index in range(0, source.count, every):
        labels = source.read(index).labels
        assert labels is not None
        matrix.update(labels, labels_at_size(predictions[index], labels.shape))
    return matrix


class _Facts:
    """What is known of a source besides the scores."""

    def __init__(self, num_classes: int) -> None:
        self.names: list[str] = []
        self.ratios: list[float] = []
        self.matrix = ConfusionMatrix(num_classes)

    def add(self, frame: JudgedFrame, predicted: np.ndarray) -> None:
        self.names.append(frame.name)
        if frame.psnr is not None:
            self.ratios.append(frame.psnr)
        if frame.labels is not None:
            self.matrix.update(frame.labels, labels_at_size(predicted, frame.labels.shape))

    def report(self) -> dict[str, Any]:
        return {
            'names': self.names,
            'psnr': float(np.mean(self.ratios)) if self.ratios else None,
            'confusion': self.matrix.counts.tolist() if self.matrix.counts.any() else None,
        }


def _scores(
    detector: Detector, watched: Watched, images: Tensor, stride: int | None
) -> tuple[Tensor, Tensor | None]:
    """Return the frame score () and, with a stride and if there is one, the map (H / s, W / s)."""
    if not detector.has_map:
        return detector.score_frame(watched, images)[0].float().cpu(), None
    own_frame_score = detector.has_frame_score
    if own_frame_score and stride is None:
        return detector.score_frame(watched, images)[0].float().cpu(), None
    score_map = detector.score_map(watched, images).detach()
    frame = detector.score_frame(watched, images) if own_frame_score else top_mean(score_map)
    if stride is None:
        return frame[0].float().cpu(), None
    rows, columns = (side // stride for side in images.shape[1:3])
    return frame[0].float().cpu(), _resized(score_map, rows, columns)


def _resized(score_map: Tensor, rows: int, columns: int) -> Tensor:
    if score_map.shape[1] > rows:
        score_map = F.interpolate(score_map[:, None], (rows, columns), mode='area')[:, 0]
    elif score_map.shape[1] < rows:
        score_map = F.interpolate(score_map[:, None], (rows, columns), mode='bilinear')[:, 0]
    return score_map[0].float().cpu()
