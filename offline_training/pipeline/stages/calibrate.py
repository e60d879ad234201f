"""Turn maps into a probability, and each channel into scores and alarm rules."""

from __future__ import annotations

import dataclasses

from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.fused.monitor import Monitor
from offline_training.detectors.image_channel.image_channel import OUTPUT
from offline_training.detectors.image_channel.image_statistics import NAMES
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import FILES, load_fitted
from offline_training.pipeline.normal_sequences import (
    IMAGE,
    TOO_NORMAL,
    Measured,
    image_sequences,
    normal_sequences,
    perturbed_values,
    unseen_sequences,
)
from ros2_ood_monitor.bundle.manifest import (
    DEFAULT_CHANNEL,
    UNUSUAL_IMAGE,
    Certificate,
    Channel,
    FrameScore,
    Regions,
    SecondLook,
    Statistic,
)
from ros2_ood_monitor.calibration.channels import AlarmBudget, calibrate, shares
from ros2_ood_monitor.calibration.findings import findings, lowered


def run(context: Context) -> None:
    """Write monitor.safetensors, the fused detector, and calibration.json, its channels."""
    config, watched = context.config.calibration, context.watched()
    monitor = Monitor.of(
        load_fitted(LightObserver, context), load_fitted(DenseFlowDensity, context), config.seed
    )
    negatives = context.held_out_negatives()
    monitor.fit_weights(watched, context.val_data, negatives)
    monitor.save(context.output_dir / FILES[Monitor])
    context.console.print(
        'fusion: ' + ', '.join(f'{each.name} {each.weight:.2f}' for each in monitor.fusion.maps)
    )
    measured = Measured.of(context)
    normal = normal_sequences(context, measured)
    unseen = unseen_sequences(context, measured, normal)
    own = _uncalibrated(monitor, config.top_fraction, config.min_area)
    image_channel = {IMAGE: own.pop(IMAGE)}
    added = {name: each.channel for name, each in measured.added.items()}
    budget = AlarmBudget(
        config.budget_per_hour,
        config.frame_rate,
        config.block_seconds,
        config.region_threshold,
        shares(own | image_channel | added),
    )
    channels = {
        **calibrate(list(unseen.values()), own, budget),
        **calibrate(list(normal.values()), added, budget),
        **calibrate(
            list(image_sequences(context, measured, unseen).values()), image_channel, budget
        ),
    }
    perturbed = {
        kind: {name: values[name] for name in measured.monitor.channels}
        for kind, values in perturbed_values(context, measured).items()
    }
    for sentence in (*findings(channels), *lowered(list(normal.values()), perturbed)):
        context.console.print(f'[bold]{sentence}')
    write_json(
        context.output_dir / 'calibration.json',
        {name: dataclasses.asdict(channel) for name, channel in channels.items()},
    )


def _uncalibrated(monitor: Monitor, top_fraction: float, min_area: int) -> dict[str, Channel]:
    """Return the channels with all but what normal sequences say."""
    none = Certificate(0.0, None, 1.0, None, None)
    channels = {
        name: Channel(
            fusion,
            Regions(1.0, min_area, 1.0, SecondLook(1.0, 1.0)) if name == DEFAULT_CHANNEL else None,
            FrameScore(top_fraction, ()),
            (),
            none,
        )
        for name, fusion in monitor.channels.items()
    }
    statistics = [Statistic(name, OUTPUT, index, 1.0, ()) for index, name in enumerate(NAMES)]
    statistics.append(Statistic(TOO_NORMAL, None, 0, -1.0, ()))
    channels[IMAGE] = Channel(None, None, None, (), none, tuple(statistics), cause=UNUSUAL_IMAGE)
    return channels
