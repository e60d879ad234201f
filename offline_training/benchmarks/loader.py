r"""Measure what training on a folder of images needs: memory, images per second, workers.

    python -m offline_training.benchmarks.loader --json loader.json

Trains on folders of --counts images of 480x360 in a temporary folder, hard links to a few
different ones, and states the peak of the resident memory of each training. Then the loader
alone: images per second of one and of two workers, one thread each, and what a training step of
the network takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table

from offline_training.data.frames import Frames
from offline_training.data.labelled_folder import LabelledFolder
from offline_training.data.network_size import AtNetworkSize
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.session import Session
from offline_training.segmentation.augmentation import augment
from offline_training.segmentation.backbones import build_backbone
from offline_training.segmentation.class_weights import class_weights
from offline_training.segmentation.config import BackboneConfig, PhaseConfig
from offline_training.segmentation.trainer import objective, train_network
from offline_training.watched.normalization import InputConfig, Normalize
from ros2_ood_monitor.scenes import SceneGenerator, classes

WIDTH, HEIGHT, BATCH = 480, 360, 8
DIFFERENT = 16
"""Images that are painted; the others are links to these."""
WORKERS = (1, 2)


def fill(root: Path, count: int) -> None:
    """Write a labelled folder of `count` images, each with labels."""
    listed = [
        {'name': name, 'color': list(color)}
        for name, color in zip(classes.NAMES, classes.PALETTE, strict=True)
    ]
    for kind in ('images', 'labels'):
        (root / 'train' / kind).mkdir(parents=True)
    (root / 'classes.yaml').write_text(json.dumps({'classes': listed}), encoding='utf-8')
    generator = SceneGenerator(1, WIDTH, HEIGHT)
    for index in range(count):
        files = [root / 'train' / 'images' / f'{index:06d}.jpg']
        files.append(root / 'train' / 'labels' / f'{index:06d}.png')
        if index < DIFFERENT:
            scene = generator.scene(index)
            cv2.imwrite(str(files[0]), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
            cv2.imwrite(str(files[1]), scene.labels)
        else:
            for file in files:
                os.link(file.with_stem(f'{index % DIFFERENT:06d}'), file)


def frames_of(root: Path) -> Frames:
    """Return the images of a folder as a training reads them."""
    return Frames.of(AtNetworkSize(LabelledFolder(root, 'train'), WIDTH, HEIGHT, 'rgb'))


def peak_memory() -> float:
    """Return the peak of the resident memory of this process in MB."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


def train_once(root: Path) -> float:
    """Train for one pass over a folder, in crops that keep it short; return the peak in MB."""
    frames, count = frames_of(root), len(classes.NAMES)
    weights = class_weights(frames.labels, count, 'enet')
    config = BackboneConfig(epochs=1, phases=(PhaseConfig(crop_width=96, crop_height=64),))
    train_network(
        build_backbone('espnet_q3', num_classes=count),
        Normalize(InputConfig(WIDTH, HEIGHT)),
        frames,
        count,
        weights,
        config,
        lambda network: {'score': 1.0},
        Session(workers=0, console=Console(quiet=True)),
    )
    return peak_memory()


def memory_of_training(root: Path) -> float:
    """Train in a process of its own and return its peak memory in MB."""
    command = [sys.executable, '-m', __spec__.name, '--train', str(root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def loader_speed(frames: Frames, workers: int, batches: int) -> float:
    """Return images per second of the loader alone, without the start of its workers."""
    phase, config = PhaseConfig(crop_width=WIDTH, crop_height=HEIGHT), BackboneConfig()

    def draw(index: int, rng: np.random.Generator, _: float) -> tuple[Any, ...]:
        return augment(*frames[index], phase, config.augmentation, rng)

    session, start = Session(workers=workers), 2 * workers + 2
    drawn = DrawnBatches(len(frames), draw, BATCH, 1, torch.device('cpu'), session)
    for number, _ in enumerate(drawn.epoch(0, 0.0)):
        if number == start:  # what was prepared while the others started is not counted
            began = time.perf_counter()
        if number == start + batches:
            break
    return batches * BATCH / (time.perf_counter() - began)


def step_speed(device: torch.device, steps: int) -> float:
    """Return the images per second that training steps of the network take in."""
    network = build_backbone('espnet_q3', num_classes=len(classes.NAMES)).to(device)
    normalize = Normalize(InputConfig(WIDTH, HEIGHT)).to(device)
    weights = torch.ones(len(classes.NAMES), device=device)
    loss = objective(network, normalize, weights, BackboneConfig())
    optimizer = torch.optim.AdamW(network.parameters())
    images = torch.zeros(BATCH, HEIGHT, WIDTH, 3, dtype=torch.uint8, device=device)
    labels = torch.zeros(BATCH, HEIGHT, WIDTH, dtype=torch.uint8, device=device)
    for number in range(steps + 1):
        if number == 1:
            began = time.perf_counter()
        optimizer.zero_grad()
        value = loss(images, labels)
        value.backward()
        optimizer.step()
        value.item()
    return steps * BATCH / (time.perf_counter() - began)


def measure(counts: Sequence[int], batches: int, repeats: int) -> dict[str, Any]:
    """Return all figures: MB by number of images, images per second, ratios."""
    with TemporaryDirectory() as folder:
        peaks = {}
        for count in counts:
            root = Path(folder) / str(count)
            fill(root, count)
            peaks[count] = memory_of_training(root)
        frames = frames_of(root)
        # In turn, so that other work on the machine meets both alike.
        turns = [[loader_speed(frames, w, batches) for w in WORKERS] for _ in range(repeats)]
    one, two = (statistics.median(turn[i] for turn in turns) for i in range(len(WORKERS)))
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    return {
        'peak_mb': peaks,
        'peak_growth': peaks[counts[-1]] / peaks[counts[0]] - 1,
        'loader_images_per_second': {'1': one, '2': two},
        'two_workers_over_one': statistics.median(two / one for one, two in turns),
        'step_images_per_second': step_speed(device, max(2, batches // 10)),
        'device': device.type,
    }


def _table(figures: dict[str, Any]) -> Table:
    peaks, speeds = figures['peak_mb'], figures['loader_images_per_second']
    step = figures['step_images_per_second']
    rows = {
        **{f'peak memory, {count} images': f'{peak:.0f} MB' for count, peak in peaks.items()},
        'growth of the peak': f'{figures["peak_growth"]:+.1%}',
        **{f'loader alone, workers: {n}': f'{speed:.1f} images/s' for n, speed in speeds.items()},
        'two workers / one': f'{figures["two_workers_over_one"]:.2f}',
        f'a training step takes in ({figures["device"]})': f'{step:.1f} images/s',
    }
    table = Table('what', Column('figure', justify='right'))
    table.title = f'training on images of {WIDTH}x{HEIGHT}'
    for row in rows.items():
        table.add_row(*row)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.benchmarks.loader',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--counts', type=int, nargs=2, default=(400, 4000), help='images per folder %(default)s'
    )
    parser.add_argument('--batches', type=int, default=40, help='of the loader (%(default)s)')
    parser.add_argument('--repeats', type=int, default=5, help='of the loader (%(default)s)')
    parser.add_argument('--json', type=Path, help='write the figures to this file, too')
    parser.add_argument('--train', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.train is not None:
        sys.stdout.write(f'{train_once(options.train)}\n')
        return 0
    figures = measure(options.counts, options.batches, options.repeats)
    Console().print(_table(figures))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
