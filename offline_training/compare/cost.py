"""Milliseconds per frame of every detector, the watched network included."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor

from offline_training.compare.experiment import Experiment
from offline_training.compare.fitting import Fitted
from offline_training.compare.scoring import NETWORK
from offline_training.compare.source import Source
from ros2_ood_monitor.bundle.store import Entry

FRAMES = 12
WARM_UP = 2


def measure_cost(
    fitted: Mapping[str, Fitted],
    experiment: Experiment,
    normal: Source,
    folder: Path,
    bars: Progress,
) -> dict[str, float]:
    """Return the median milliseconds per frame by row; `network` is without any detector.

    One frame at a time in eager torch, as it is scored here; an exported engine is faster. Times
    of the same detector, network and device are read back from `folder`.
    """
    watched = experiment.watched
    work: dict[str, Callable[[Tensor], object]] = {NETWORK: watched}
    digests = {NETWORK: ''}
    for name, each in fitted.items():
        if each.detector is not None:
            own = each.detector
            work[name] = partial(own.score_map if own.has_map else own.score_frame, watched)
            digests[name] = each.digest
    machine = {'device': _device(watched.device), 'threads': torch.get_num_threads()}
    entries = {
        name: Entry(
            folder, name, {'watched': experiment.properties, 'detector': digest, **machine}
        )
        for name, digest in digests.items()
    }
    missing = [name for name, entry in entries.items() if entry.why_not() is not None]
    times: dict[str, list[float]] = {name: [] for name in missing}
    rounds = bars.track(range(WARM_UP + FRAMES), description='timing') if missing else ()
    for index in rounds:
        image = normal.read(index % normal.count).image
        images = torch.from_numpy(image)[None].to(watched.device)
        # In turn, so that a machine that slows down slows down all of them.
        for name in missing:
            times[name].append(_milliseconds(work[name], images))
    for name, taken in times.items():
        entries[name].record(statistics.median(taken[WARM_UP:]))
    return {name: entry.value() for name, entry in entries.items()}


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.machine()


def _milliseconds(work: Callable[[Tensor], object], images: Tensor) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        work(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started)
