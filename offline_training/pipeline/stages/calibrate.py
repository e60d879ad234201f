"""Stage 4: turn maps into a probability, and each channel into a frame score and an alarm rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import groupby

from offline_training.calibration.alarm import calibrate_alarm
from offline_training.calibration.regions import region_threshold
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.fused.monitor import Monitor
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context, network_image
from offline_training.pipeline.fitted import FILES, load_fitted
from offline_training.watched.base import Watched
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, Channel, FrameScore, Regions
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits, probability
from ros2_ood_monitor.scenes import SceneGenerator

SEQUENCE_SEED = 5_000_011
"""Calibration sequences come from scene seeds apart from those of training and validation."""


def run(context: Context) -> None:
    """Write monitor.safetensors, the fused detector, and calibration.json, its channels."""
    config, watched = context.config.calibration, context.watched()
    monitor = Monitor.of(
        load_fitted(LightObserver, context), load_fitted(DenseFlowDensity, context), config.seed
    )
    monitor.fit_weights(watched, context.val_data)
    monitor.save(context.output_dir / FILES[Monitor])
    context.console.print(
        'fusion: ' + ', '.join(f'{each.name} {each.weight:.2f}' for each in monitor.fusion.maps)
    )
    statistics = _statistics(context, watched, monitor)
    threshold = _region_threshold(context, watched, monitor)
    channels = {}
    for name, fusion in monitor.channels.items():
        calibrated = calibrate_alarm(
            statistics[name],
            config.frame_rate,
            config.drift,
            config.block_seconds,
            # Each channel may raise false alarms, and their sum is what was asked for.
            config.budget_per_hour / len(statistics),
        )
        certificate = calibrated.certificate
        context.console.print(
            f'alarm of {name}: {len(calibrated.reference)} normal frames certify at best '
            f'{certificate.certified_per_hour:.3g} false alarms per hour '
            f'(asked: {certificate.budget_per_hour:g}); threshold {calibrated.alarm.threshold:.2f}'
        )
        channels[name] = Channel(
            fusion,
            Regions(threshold, config.min_area) if name == DEFAULT_CHANNEL else None,
            FrameScore(config.top_fraction, calibrated.reference),
            (calibrated.alarm,),
            certificate,
        )
    write_json(
        context.output_dir / 'calibration.json',
        {name: dataclasses.asdict(channel) for name, channel in channels.items()},
    )


def _statistics(
    context: Context, watched: Watched, monitor: Monitor
) -> dict[str, list[list[float]]]:
    """Return the frame statistics of every normal sequence by channel."""
    top_fraction = context.config.calibration.top_fraction
    found: dict[str, list[list[float]]] = {name: [] for name in monitor.channels}
    channels = monitor.channels
    with context.progress() as bars:
        task = bars.add_task('sequences', total=None)
        for sequence in _sequences(context):
            for own in found.values():
                own.append([])
            for maps in monitor.stream(watched, sequence):
                for name, fusion in channels.items():
                    statistic = frame_statistic(fused_logits(maps, fusion), top_fraction)
                    found[name][-1].append(statistic)
                bars.advance(task)
    return found


def _region_threshold(context: Context, watched: Watched, monitor: Monitor) -> float:
    config, fusion = context.config.calibration, monitor.fusion
    maps = monitor.stream(watched, context.val_data.images)
    probabilities = [probability(fused_logits(each, fusion)) for each in maps]
    return region_threshold(probabilities, config.region_threshold, config.min_area)


def _sequences(context: Context) -> Iterator[Iterator[UInt8Array]]:
    """Yield normal sequences of images in model colour order: rendered ones, or the val split."""
    config, size = context.config.calibration, context.config.input
    if context.config.data.dataset == 'synthetic':
        generator = SceneGenerator(SEQUENCE_SEED + config.seed, size.width, size.height)
        count = round(config.block_seconds * config.frame_rate)
        for index in range(config.clips):
            clip = generator.clip(index, count, fps=config.frame_rate)
            yield (network_image(frame.image, context.config) for frame in clip)
        return
    for indices in _val_sequences(context):
        yield (context.val_data.images[index] for index in indices)


def _val_sequences(context: Context) -> Sequence[list[int]]:
    """Return the indices of the validation frames, one list per sequence, in order."""
    sequences = [context.val_data.sequence(index) for index in range(len(context.val_data))]
    if not all(sequences):
        context.console.print(
            'warning: the data set does not say which frames are of one sequence; the certified '
            'rate holds only if the validation frames follow each other at '
            f'{context.config.calibration.frame_rate:g} per second'
        )
    return [list(group) for _, group in groupby(range(len(sequences)), sequences.__getitem__)]
