"""Milliseconds per frame of every detector, the watched network included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor

from offline_training.compare.scoring import NETWORK
from offline_training.compare.sources import Source
from offline_training.detectors.base import Detector, Watched
from offline_training.storage import read_json, write_json

FRAMES = 12
WARM_UP = 2


def measure_cost(
    detectors: Mapping[str, Detector], watched: Watched, normal: Source, path: Path, bars: Progress
) -> dict[str, float]:
    """Return and store the median milliseconds per frame by detector; `network` is without any.

    One frame at a time in eager torch, as it is scored here; an exported engine is faster.
    """
    known: dict[str, float] = read_json(path) if path.is_file() else {}
    frames = [
        torch.from_numpy(normal.read(index % normal.count).image)[None].to(watched.device)
        for index in range(WARM_UP + FRAMES)
    ]
    work: dict[str, Callable[[Tensor], object]] = {NETWORK: watched}
    for name, detector in detectors.items():
        work[name] = _scoring(detector, watched)
    for name in bars.track(list(work), description='timing'):
        if name not in known:
            known[name] = statistics.median(_times(work[name], frames)[WARM_UP:])
            write_json(path, known)
    return known


def _scoring(detector: Detector, watched: Watched) -> Callable[[Tensor], object]:
    score = detector.score_map if 'pixel' in detector.spec.levels else detector.score_frame
    return lambda images: score(watched, images)


def _times(work: Callable[[Tensor], object], frames: list[Tensor]) -> list[float]:
    times = []
    with torch.no_grad():
        for images in frames:
            started = time.perf_counter()
            work(images)
            if images.is_cuda:
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - started))
    return times
