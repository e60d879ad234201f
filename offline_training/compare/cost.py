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
from offline_training.detectors.base import Detector
from offline_training.learning.store import read_json, write_json
from offline_training.watched.base import Watched

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
    # In turn, so that a machine that slows down slows down all of them.
    missing = [name for name in work if name not in known]
    times: dict[str, list[float]] = {name: [] for name in missing}
    for images in bars.track(frames, description='timing'):
        for name in missing:
            times[name].append(_milliseconds(work[name], images))
    known |= {name: statistics.median(own[WARM_UP:]) for name, own in times.items()}
    write_json(path, known)
    return known


def _scoring(detector: Detector, watched: Watched) -> Callable[[Tensor], object]:
    score = detector.score_map if detector.has_map else detector.score_frame
    return lambda images: score(watched, images)


def _milliseconds(work: Callable[[Tensor], object], images: Tensor) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        work(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started)
