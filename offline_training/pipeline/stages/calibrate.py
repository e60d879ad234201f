"""Stage 4: turn maps into a probability, a conformal frame score and an alarm rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from offline_training.calibration.calibration import calibrate_alarm, fit_fusion, region_threshold
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context, network_image
from offline_training.pipeline.monitored import MonitoredNetwork, stack
from offline_training.synthesis.pasted_frames import IGNORE, pasted_frames
from offline_training.watched.graphs import MAPS, SOURCES
from ros2_ood_monitor.bundle.manifest import Channel, FrameScore, Regions
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits, probability
from ros2_ood_monitor.scenes import SceneGenerator

PIXELS = 200_000
DRIVE_SEED = 5_000_011
"""Calibration drives come from their own scene seeds, apart from training and validation."""


def run(context: Context) -> None:
    """Write calibration.json: the channel `object` of the bundle."""
    config = context.config.calibration
    network = MonitoredNetwork.restore(context)
    rng = np.random.default_rng(config.seed)
    with context.progress() as bars:
        data = context.val_data
        frames = pasted_frames(data.images, data.labels, config.seed)
        pasted = stack(
            list(
                network.stream(
                    frame.image for frame in bars.track(frames, description='pasted val')
                )
            )
        )
        normal = stack(
            list(network.stream(bars.track(context.val_data.images, description='normal val')))
        )
    truth = np.stack([frame.truth for frame in frames])
    chosen = np.flatnonzero(truth.ravel() != IGNORE)
    chosen = rng.choice(chosen, min(PIXELS, chosen.size), replace=False)
    fusion = fit_fusion(
        SOURCES,
        normal,
        {name: pasted[name].ravel()[chosen] for name in MAPS},
        truth.ravel()[chosen],
    )
    context.console.print(
        'fusion: ' + ', '.join(f'{each.name} {each.weight:.2f}' for each in fusion.maps)
    )

    drives = []
    with context.progress() as bars:
        task = bars.add_task('drives', total=None)
        for drive in _drives(context):
            statistics = []
            for maps in network.stream(drive):
                logits = fused_logits(maps, fusion)
                statistics.append(frame_statistic(logits, config.top_fraction))
                bars.advance(task)
            drives.append(statistics)
    scores = calibrate_alarm(
        drives, config.frame_rate, config.drift, config.block_seconds, config.budget_per_hour
    )
    certificate = scores.certificate
    context.console.print(
        f'alarm: {sum(map(len, drives))} normal frames certify at best '
        f'{certificate.certified_per_hour:.3g} false alarms per hour '
        f'(asked: {certificate.budget_per_hour:g}); threshold {scores.alarm.threshold:.2f}'
    )
    probabilities = [
        probability(fused_logits({name: normal[name][index] for name in MAPS}, fusion))
        for index in range(len(context.val_data.images))
    ]
    threshold = region_threshold(probabilities, config.region_threshold, config.min_area)
    channel = Channel(
        fusion=fusion,
        regions=Regions(threshold, config.min_area),
        frame_score=FrameScore(config.top_fraction, scores.reference),
        alarms=(scores.alarm,),
        certificate=certificate,
    )
    write_json(context.output_dir / 'calibration.json', dataclasses.asdict(channel))


def _drives(context: Context) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """Yield drives of images in model colour order: rendered ones, or val split by sequence."""
    config, size = context.config.calibration, context.config.input
    if context.config.data.dataset == 'synthetic':
        generator = SceneGenerator(DRIVE_SEED + config.seed, size.width, size.height)
        count = round(config.block_seconds * config.frame_rate)
        for index in range(config.clips):
            clip = generator.clip(index, count, fps=config.frame_rate)
            yield (network_image(frame.image, context.config) for frame in clip)
        return
    for indices in _sequences(context):
        yield (context.val_data.images[index] for index in indices)


def _sequences(context: Context) -> Sequence[list[int]]:
    """Indices of the validation frames, one list per drive, in order."""
    sequences = [context.val[index].sequence for index in range(len(context.val))]
    if not all(sequences):
        context.console.print(
            'warning: the data set does not say which frames are of one drive; the certified rate '
            f'holds only if the validation frames follow each other at '
            f'{context.config.calibration.frame_rate:g} per second'
        )
    return [list(group) for _, group in groupby(range(len(sequences)), sequences.__getitem__)]
