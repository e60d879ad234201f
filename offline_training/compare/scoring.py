"""Score every frame of a source with every detector; what is stored and still fits is kept."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from offline_training.compare.source import Source, SourceFrame
from offline_training.compare.stored_scores import NETWORK, StoredScores
from offline_training.data.base import VOID, labels_at_size
from offline_training.detectors.base import Detector, top_mean
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.watched.base import Watched


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
                eye = shared if detector.shares_features else watched
                score, score_map = _scores(detector, eye, images, stride)
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
