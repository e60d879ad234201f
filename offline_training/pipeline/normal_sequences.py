"""What is kept of normal driving to calibrate on: a few numbers of every frame, by sequence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.fused.monitor import BATCH, Monitor
from offline_training.detectors.image_channel.image_channel import ImageChannel
from offline_training.detectors.image_channel.image_statistics import NAMES
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning.store import read_json
from offline_training.measuring.image_folder import spread
from offline_training.perturbations import PERTURBATIONS, perturb
from offline_training.pipeline.added_channels import Added, load_added
from offline_training.pipeline.context import Context, network_image
from offline_training.pipeline.fitted import load_fitted
from offline_training.pipeline.left_out import (
    left_out_file,
    long_sequences,
    sequence_names,
    stored_groups,
)
from offline_training.watched.base import Watched
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL
from ros2_ood_monitor.calibration.sequences import (
    LEVELS,
    REGION_LEVEL,
    SECOND_LEVEL,
    NormalSequence,
)
from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits, probability
from ros2_ood_monitor.inference.preprocessing import prepare
from ros2_ood_monitor.inference.regions import region_level
from ros2_ood_monitor.inference.second_look import most_unusual
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
"""About as many training frames are calibrated on."""


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

    def without(self, context: Context, number: int) -> Measured:
        """Return the same with flow and observer of a fit without some sequences."""
        monitor = Monitor.of(
            LightObserver.load(left_out_file(context, LightObserver, number)).to(context.device),
            DenseFlowDensity.load(left_out_file(context, DenseFlowDensity, number)).to(
                context.device
            ),
            self.monitor.settings['seed'],
        )
        monitor.set_fusion(self.monitor.fusion)
        return replace(self, monitor=monitor)

    def statistics(self, image: UInt8Array) -> dict[str, float]:
        """Return the raw statistics of one image (H, W, 3), by `manifest.statistic_names`."""
        (row,) = self._rows([image])
        return {name: value for name, value in row.items() if name not in LEVELS}

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
                    anomaly = probability(logits)
                    row[REGION_LEVEL] = region_level(anomaly, self.min_area)
                    row[SECOND_LEVEL] = self._second_level(batch[index], anomaly)
                    row[f'{IMAGE}.{TOO_NORMAL}'] = -row[name]
            yield row

    def _second_level(self, image: UInt8Array, anomaly: Float32Array) -> float:
        """Return the region level in the window of a second look at an image (H, W, 3)."""
        rows, columns = image.shape[:2]
        part = np.ascontiguousarray(image[most_unusual(anomaly).slices(image.shape)])
        # In the network's colour order already.
        enlarged = prepare(part, columns, rows, 'rgb')[0]
        (maps,) = self.monitor.stream(self.watched, [enlarged])
        seen = probability(fused_logits(maps, self.monitor.fusion))
        return region_level(seen, self.min_area)


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


def unseen_sequences(
    context: Context, measured: Measured, normal: Mapping[str, NormalSequence]
) -> dict[str, NormalSequence]:
    """Return sequences that flow and observer were not fitted on, by their names.

    Training sequences measured by the fits without them, and what else is `normal`, unless it is a
    part of one of them. No fit has learned from enlarged windows: the level of a second look is
    the higher one of both fits.
    """
    found = dict(normal)
    for number, group in enumerate(stored_groups(context)):
        part = measured.without(context, number)
        for name in group:
            frames = _left_out_frames(context, name)
            unseen, whole = part.sequence(frames).values, measured.sequence(frames).values
            again = np.maximum(unseen[SECOND_LEVEL], whole[SECOND_LEVEL])
            found[name] = NormalSequence({**unseen, SECOND_LEVEL: again})
    return found


def image_sequences(
    context: Context, measured: Measured, unseen: Mapping[str, NormalSequence]
) -> dict[str, NormalSequence]:
    """Return sequences that the image channel was not fitted on, likewise.

    Its statistics of a training sequence are those of the fit without it. Only `TOO_NORMAL` is of
    the observer that has seen the sequence: no other normal frame is as normal to it.
    """
    found = dict(unseen)
    for name, values in read_json(context.output_dir / 'image.json')['left_out'].items():
        seen = measured.sequence(_left_out_frames(context, name)).values
        own = np.array(values)[:: _step(context)]
        statistics = {f'{IMAGE}.{each}': own[:, i] for i, each in enumerate(NAMES)}
        found[name] = NormalSequence({**seen, **statistics})
    return found


def normal_material(context: Context) -> tuple[int, float]:
    """Return how many normal sequences a run will calibrate on, and their hours together.

    Known before anything is trained, from the names of the frames.
    """
    config = context.config.calibration
    if context.config.data.dataset == 'synthetic':
        return config.clips, config.clips * config.block_seconds / 3600
    data = context.val_data
    frames = Counter(data.sequence(index) for index in range(len(data)))
    if config.left_out_fits:
        for name, count in long_sequences(sequence_names(context)).items():
            frames[name] = math.ceil(count / _step(context))
    return len(frames), sum(frames.values()) / config.frame_rate / 3600


def _left_out_frames(context: Context, name: str) -> Sequence[UInt8Array]:
    """Return frames of a training sequence, evenly thinned."""
    indices = [at for at, other in enumerate(sequence_names(context)) if other == name]
    return context.train_data.subset(indices[:: _step(context)]).images


def _step(context: Context) -> int:
    """Return of how many frames of the sequences left out one is measured."""
    return max(1, sum(long_sequences(sequence_names(context)).values()) // LEFT_OUT_FRAMES)


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
