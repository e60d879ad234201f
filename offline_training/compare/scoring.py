"""Scores of every frame by every detector: given once, and stored while they fit."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from offline_training.compare.fitting import Fitted
from offline_training.compare.source import Source, SourceFrame
from offline_training.data.base import VOID, labels_at_size
from offline_training.detectors.base import Detector, top_mean
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.watched.base import Watched
from ros2_ood_monitor.bundle.store import Entry

NETWORK = 'network'
"""Stored beside the detectors: what the watched network itself said."""


@dataclass(frozen=True, eq=False)
class StoredScores:
    """Per source and row: frame scores and, where the truth is known per pixel, score maps.

    Maps (N, H / s, W / s) float32 and labels (N, H, W) uint8 of the network lie in `.npy` files,
    of which only the frames that are looked at are read. The stride s is one for all rows, usually
    that of the monitor's own maps; finer maps are averaged, coarser ones interpolated.
    """

    folder: Path
    watched: Mapping[str, Any]
    """Properties of the watched network."""
    rows: Mapping[str, Fitted]
    map_stride: int

    def entry(self, source: Source, name: str) -> Entry:
        """Return where the scores of a row, or what the `NETWORK` said, are stored."""
        properties: dict[str, Any] = {'watched': self.watched, 'source': source.properties}
        if name != NETWORK:
            row = self.rows[name]
            properties['detector'] = row.digest
            if source.truth and row.detector is not None and row.detector.has_map:
                properties['map_stride'] = self.map_stride
        return Entry(self.folder / source.name, name, properties)

    def array_path(self, source: Source, name: str) -> Path:
        """Return the file of the maps, or of the labels of the `NETWORK`."""
        return self.folder / source.name / f'{name}.npy'

    def frames(self, source: Source, name: str) -> NDArray[np.float32]:
        """Return the frame scores (N,) of a row."""
        return np.array(self.entry(source, name).value(), dtype=np.float32)

    def maps(self, source: Source, name: str) -> NDArray[np.float32]:
        """Return the score maps (N, h, w) of a row, read as they are looked at."""
        return np.load(self.array_path(source, name), mmap_mode='r')

    def predictions(self, source: Source) -> NDArray[np.uint8]:
        """Return the labels uint8 (N, H, W) that the network gave, 255 = void, read likewise."""
        return np.load(self.array_path(source, NETWORK), mmap_mode='r')

    def facts(self, source: Source) -> dict[str, Any]:
        """Return names, mean PSNR in dB and confusion counts of the network on a source."""
        facts: dict[str, Any] = self.entry(source, NETWORK).value()
        return facts


class RememberingWatched(Watched):
    """Runs the network once on an image that many detectors score.

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


def score_source(
    source: Source,
    detectors: Mapping[str, Detector],
    watched: Watched,
    stored: StoredScores,
    bars: Progress,
) -> None:
    """Store the scores of a source that are not stored or do not fit, and say why not.

    Raises:
        ValueError: a detector gave a score that is not finite; the message names both.
    """
    entries = {name: stored.entry(source, name) for name in (NETWORK, *detectors)}
    reasons = {name: entry.why_not() for name, entry in entries.items()}
    missing = {name: each for name, each in detectors.items() if reasons[name] is not None}
    if not missing and reasons[NETWORK] is None:
        return
    again = defaultdict(list)
    for name, reason in reasons.items():
        if reason is not None and entries[name].note.exists():
            again[reason].append(name)
    for reason, names in again.items():
        bars.console.print(f'scoring {source.name} again with {", ".join(names)}: {reason}')
    stored.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.scoring-', dir=stored.folder) as folder:
        arrays = _Arrays(Path(folder), source.count)
        frame_scores: dict[str, list[float]] = {name: [] for name in missing}
        facts = _Facts(watched.num_classes)
        shared = RememberingWatched(watched)
        stride = stored.map_stride if source.truth else None
        for index in bars.track(range(source.count), description=f'scoring {source.name}'):
            frame = source.read(index)
            images = torch.from_numpy(frame.image)[None].to(watched.device)
            labels = shared.features(images)[0].argmax(dim=1)[0].to(torch.uint8).cpu()
            predicted = torch.where(labels < watched.num_classes, labels, VOID).numpy()
            facts.add(frame, predicted)
            if source.truth:
                arrays.put(NETWORK, index, predicted)
            for name, detector in missing.items():
                network = shared if detector.shares_features else watched
                score, score_map = _scores(detector, network, images, stride)
                for tensor in (score, score_map):
                    if tensor is not None and not tensor.isfinite().all():
                        raise ValueError(
                            f'{name} gave a score that is not finite for {frame.name} of '
                            f'{source.name}; leave the detector out and report this'
                        )
                frame_scores[name].append(float(score))
                if score_map is not None:
                    arrays.put(name, index, score_map.numpy())
        for name, value in [(NETWORK, facts.report()), *frame_scores.items()]:
            path = stored.array_path(source, name)
            entries[name].record(value, [path] if arrays.move(name, path) else [])


class _Arrays:
    """Arrays on disk that are filled frame by frame, so that no set has to fit into memory."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._open: dict[str, np.memmap[Any, Any]] = {}

    def put(self, name: str, index: int, values: NDArray[Any]) -> None:
        if name not in self._open:
            self._open[name] = np.lib.format.open_memmap(
                self._folder / name, 'w+', values.dtype, (self._count, *values.shape)
            )
        self._open[name][index] = values

    def move(self, name: str, path: Path) -> bool:
        """Put a complete array in its place; False if there is none of this name."""
        if name not in self._open:
            return False
        self._open.pop(name).flush()
        path.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / name).replace(path)
        return True


def confusion(
    source: Source, predictions: np.ndarray, num_classes: int, every: int
) -> ConfusionMatrix:
    """Count truth against `predictions` (N, H, W) on each `every`-th frame of a source."""
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

    def add(self, frame: SourceFrame, predicted: np.ndarray) -> None:
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
    own_frame_score = detector.has_frame_score
    if not detector.has_map or (own_frame_score and stride is None):
        return detector.score_frame(watched, images)[0].float().cpu(), None
    score_map = detector.score_map(watched, images).detach()
    frame = detector.score_frame(watched, images) if own_frame_score else top_mean(score_map)
    if stride is None:
        return frame[0].float().cpu(), None
    rows, columns = (side // stride for side in images.shape[1:3])
    if score_map.shape[1] != rows:
        mode = 'area' if score_map.shape[1] > rows else 'bilinear'
        score_map = F.interpolate(score_map[:, None], (rows, columns), mode=mode)[:, 0]
    return frame[0].float().cpu(), score_map[0].float().cpu()
