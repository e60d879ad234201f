"""What is kept of normal driving to calibrate on: a few numbers of every frame, by sequence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline_training.detectors.fused.monitor import BATCH, Monitor
from offline_training.detectors.image_channel.image_channel import ImageChannel
from offline_training.detectors.image_channel.image_statistics import NAMES
from offline_training.learning.store import read_json
from offline_training.measuring.image_folder import spread
from offline_training.perturbations import PERTURBATIONS, perturb
from offline_training.pipeline.added_channels import Added, load_added
from offline_training.pipeline.context import Context, network_image
from offline_training.pipeline.fitted import load_fitted
from offline_training.watched.base import Watched
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL
from ros2_ood_monitor.calibration.sequences import REGION_LEVEL, NormalSequence
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits, probability
from ros2_ood_monitor.inference.regions import region_level
from ros2_ood_monitor.scenes import SceneGenerator

SEQUENCE_SEED = 5_000_011
"""Calibration sequences come from scene seeds apart from those of training and validation."""
IMAGE = 'image'
"""The channel of whole images."""
TOO_NORMAL = 'too_normal'
"""Its statistic that is high where the channel `object` finds less than in any normal image."""
SEVERITY = 0.6
PERTURBED_IMAGES = 8
LEFT_OUT_FRAMES = 400
"""Training frames at most that the image channel is calibrated on."""


@dataclass(frozen=True)
class Measured:
    """The fitted detectors, as they measure frames."""

    watched: Watched
    monitor: Monitor
    image: ImageChannel
    added: Mapping[str, Added]
    top_fraction: float
    min_area: int

    @classmethod
    def of(cls, context: Context) -> Measured:
        """Load what a run has fitted and weighted."""
        config = context.config.calibration
        monitor, image = load_fitted(Monitor, context), load_fitted(ImageChannel, context)
        added = load_added(context)
        return cls(context.watched(), monitor, image, added, config.top_fraction, config.min_area)

    def statistics(self, image: UInt8Array) -> dict[str, float]:
        """Return the raw statistics of one image (H, W, 3), by `manifest.statistic_names`."""
        (row,) = self._rows([image])
        return {name: value for name, value in row.items() if name != REGION_LEVEL}

    def sequence(self, images: Iterable[UInt8Array]) -> NormalSequence:
        """Return statistics and region levels of images (H, W, 3), in small batches."""
        rows = [row for batch in _batches(images) for row in self._rows(batch)]
        return NormalSequence({name: np.array([row[name] for row in rows]) for name in rows[0]})

    def _activations(self, pixels: Tensor) -> list[str]:
        """Return the inner activations that the detectors read, each once."""
        detectors = [self.monitor, *(each.detector for each in self.added.values())]
        names = [n for each in detectors for n in each.activations(self.watched, pixels)]
        return list(dict.fromkeys(names))

    def _rows(self, batch: Sequence[UInt8Array]) -> Iterator[dict[str, float]]:
        pixels = torch.from_numpy(np.stack(batch)).to(self.watched.device)
        with torch.no_grad():
            seen = self.watched.look(pixels, self._activations(pixels))
            statistics = self.image.statistics_of(seen).cpu().numpy()
            maps = {k: v.float().cpu().numpy() for k, v in self.monitor.maps(seen).items()}
            added = dict(
                each.statistics(name, self.watched, seen) for name, each in self.added.items()
            )
        for index in range(len(batch)):
            own = {name: values[index] for name, values in maps.items()}
            row = {f'{IMAGE}.{n}': float(v) for n, v in zip(NAMES, statistics[index], strict=True)}
            row |= {name: float(values[index]) for name, values in added.items()}
            for name, fusion in self.monitor.channels.items():
                logits = fused_logits(own, fusion)
                row[name] = frame_statistic(logits, self.top_fraction)
                if name == DEFAULT_CHANNEL:
                    row[REGION_LEVEL] = region_level(probability(logits), self.min_area)
                    row[f'{IMAGE}.{TOO_NORMAL}'] = -row[name]
            yield row


def normal_sequences(context: Context, measured: Measured) -> dict[str, NormalSequence]:
    """Return what calibration knows of the normal sequences, by their names."""
    found = {}
    with context.progress() as bars:
        task = bars.add_task('sequences', total=None)

        def counted(images: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
            for image in images:
                yield image
                bars.advance(task)

        for name, images in _sequences(context):
            found[name] = measured.sequence(counted(images))
    return found


def perturbed_values(
    context: Context, measured: Measured
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the statistics (N,) of some validation images under every perturbation, by kind."""
    step = -1 if context.config.input.color_order == 'bgr' else 1
    images = spread(context.val_data.images, PERTURBED_IMAGES)
    found = {}
    for kind in PERTURBATIONS:
        shown = [
            perturb(kind, np.ascontiguousarray(image[..., ::step]), SEVERITY, seed)[..., ::step]
            for seed, image in enumerate(images)
        ]
        found[kind] = dict(measured.sequence(shown).values)
    return found


def image_sequences(
    context: Context, measured: Measured, normal: dict[str, NormalSequence]
) -> dict[str, NormalSequence]:
    """Return sequences for the image channel, which was fitted on the training sequences.

    Of those that were left out of a fit the statistics of that fit; what else is normal, unless
    it is a part of one of them.
    """
    left_out = read_json(context.output_dir / 'image.json')['left_out']
    if not left_out:
        return normal
    frames = context.train_data
    names = [frames.sequence(index) for index in range(len(frames))]
    step = max(1, sum(map(len, left_out.values())) // LEFT_OUT_FRAMES)
    found = {name: each for name, each in normal.items() if name not in left_out}
    for name, values in left_out.items():
        indices = [index for index, other in enumerate(names) if other == name]
        sequence = measured.sequence(frames.images[index] for index in indices[::step])
        own = np.array(values)[::step]
        statistics = {f'{IMAGE}.{each}': own[:, i] for i, each in enumerate(NAMES)}
        found[name] = NormalSequence({**sequence.values, **statistics})
    return found


def _batches(images: Iterable[UInt8Array]) -> Iterator[list[UInt8Array]]:
    remaining = iter(images)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _sequences(context: Context) -> Iterator[tuple[str, Iterator[UInt8Array]]]:
    """Yield normal sequences of images in model colour order: rendered ones, or the val split."""
    config, size = context.config.calibration, context.config.input
    if context.config.data.dataset == 'synthetic':
        generator = SceneGenerator(SEQUENCE_SEED + config.seed, size.width, size.height)
        count = round(config.block_seconds * config.frame_rate)
        for index in range(config.clips):
            clip = generator.clip(index, count, fps=config.frame_rate)
            yield f'clip {index}', (network_image(each.image, context.config) for each in clip)
        return
    data = context.val_data
    names = [data.sequence(index) for index in range(len(data))]
    if not all(names):
        context.console.print(
            'warning: the data set does not say which frames are of one sequence; the certified '
            'rate holds only if the validation frames follow each other at '
            f'{config.frame_rate:g} per second'
        )
    for name, group in groupby(range(len(names)), names.__getitem__):
        yield name, (data.images[index] for index in group)
