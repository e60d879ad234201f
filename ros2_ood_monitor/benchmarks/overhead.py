"""What watching costs: the full monitor against the bare segmentation, interleaved in one run."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ros2_ood_monitor.benchmarks.torch_eager import torch_eager
from ros2_ood_monitor.bundle.manifest import Network
from ros2_ood_monitor.bundle.model_bundle import ModelBundle, file_sha256
from ros2_ood_monitor.frame import Frame, UInt8Array
from ros2_ood_monitor.inference.engines.base import Engine, EngineError
from ros2_ood_monitor.inference.engines.selection import open_engine
from ros2_ood_monitor.inference.preprocessing import prepare
from ros2_ood_monitor.inference.runner import Runner, stored_frame

BLOCK = 5
"""Frames a contender runs before the next one's turn."""

Contender = Callable[[UInt8Array], float]
"""Runs one frame and returns the milliseconds that it took."""


def bench(
    bundle_dir: Path,
    backend: str = 'auto',
    against: str | None = None,
    frames: int = 200,
    threads: int | None = None,
    second_look_every: int = 0,
) -> dict[str, Any]:
    """Measure the bundle on this machine and return figures ready for JSON.

    Keys: `overhead_ratio`, median of the full monitor over that of the bare segmentation (same
    preprocessing, same backbone cut down to its labels, same engine); `vs_torch_eager`, over the
    bare segmentation as a torch program (None unless `against` is 'torch-eager'); `stages`,
    milliseconds p50, p95 and p99 per stage and contender; `machine`, `backend`, `bundle`,
    `input`, `frames`, `second_look_every` (as in `Runner`).
    The images are the bundle's self-test frames at network input size. Raises BundleError,
    EngineError, and SelfTestError if the engine's results are wrong: speed then means nothing.
    """
    if frames < 1:
        raise ValueError(f'frames is {frames}; use 1 or more')
    if against not in (None, 'torch-eager'):
        raise ValueError(f'against is {against!r}; use torch-eager')
    bundle = ModelBundle.load(bundle_dir)
    size = (bundle.width, bundle.height)
    images = [
        np.asarray(cv2.resize(stored_frame(stored).image, size), np.uint8)
        for stored in bundle.selftest
    ]
    machine = _machine()
    stages: dict[str, list[float]] = {}
    with ExitStack() as stack:
        runner = stack.enter_context(
            Runner(bundle, backend, threads, second_look_every=second_look_every)
        )
        runner.self_test()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bare = open_engine(
            _labels_only(bundle.networks['backbone'], folder), backend, folder, threads
        )
        stack.enter_context(closing(bare))

        def full(image: UInt8Array) -> None:
            for stage, milliseconds in runner.infer(Frame(image)).timings.items():
                if stage != 'total':
                    stages.setdefault(stage, []).append(milliseconds)

        contenders: dict[str, Contender] = {
            'bare': _timed(lambda image: _segment(bundle, bare, image)),
            'full': _timed(full),
        }
        if against:
            contenders['torch_eager'] = stack.enter_context(torch_eager(bundle_dir, threads))
        times = interleave(contenders, images, frames)
        description = runner.description
    median = {name: float(np.median(values)) for name, values in times.items()}
    return {
        'overhead_ratio': median['full'] / median['bare'],
        'vs_torch_eager': median['full'] / median['torch_eager'] if against else None,
        'stages': {name: _percentiles(values) for name, values in {**stages, **times}.items()},
        'machine': machine,
        'backend': description,
        'bundle': bundle.name,
        'input': [bundle.width, bundle.height],
        'frames': frames,
        'second_look_every': second_look_every,
    }


def interleave(
    contenders: dict[str, Contender], images: Sequence[UInt8Array], frames: int
) -> dict[str, list[float]]:
    """Return `frames` run times in milliseconds per contender, measured in alternating blocks.

    Alternating spreads a machine's slow moments over all contenders. The first frame of a block is
    not counted: threads of the contender before may still be spinning. The order rotates.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    done = 0
    while done < frames:
        count = min(BLOCK, frames - done)
        for name in order:
            for index in range(-1, count):
                image = images[(done + index) % len(images)]
                milliseconds = contenders[name](image)
                if index >= 0:
                    times[name].append(milliseconds)
        order.append(order.pop(0))
        done += count
    return times


def _timed(run: Callable[[UInt8Array], object]) -> Contender:
    def contender(image: UInt8Array) -> float:
        started = time.perf_counter()
        run(image)
        return (time.perf_counter() - started) * 1e3

    return contender


def _labels_only(backbone: Network, folder: Path) -> Network:
    """Write the part of the backbone that gives its labels: the segmentation without a monitor."""
    try:
        from onnx.utils import extract_model
    except ImportError as error:
        raise EngineError(
            'onnx is not installed, so the bare segmentation cannot be cut out of the backbone; '
            "type: pip install '.[training]' in the repository"
        ) from error
    path = folder / 'bare.onnx'
    inputs = [tensor.name for tensor in backbone.inputs]
    extract_model(str(backbone.path), str(path), inputs, ['labels'])
    labels = tuple(tensor for tensor in backbone.outputs if tensor.name == 'labels')
    return Network(path, file_sha256(path), backbone.inputs, labels)


def _segment(bundle: ModelBundle, engine: Engine, image: UInt8Array) -> UInt8Array:
    prepared = prepare(image, bundle.width, bundle.height, bundle.color_order)
    labels = np.asarray(engine.run({'image': prepared})['labels'])
    return np.asarray(labels[0], np.uint8)


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {'p50': float(p50), 'p95': float(p95), 'p99': float(p99)}


def _machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
                break
    return {
        'cpu': model,
        'cores': len(os.sched_getaffinity(0)),
        'load_average': round(os.getloadavg()[0], 2),
        'system': platform.platform(),
        'python': platform.python_version(),
    }
