"""Fit the image channel, and score each training sequence with a fit that has not seen it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from offline_training.detectors.image_channel.image_channel import SEEN_KINDS, ImageChannel
from offline_training.detectors.image_channel.image_statistics import ImageStatistics, TapFeatures
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import FILES
from offline_training.pipeline.left_out import long_sequences, sequence_names


def run(context: Context) -> None:
    """Write image.safetensors and image.json: statistics of the sequences left out, by name."""
    config, frames, watched = context.config, context.train_data, context.watched()
    channel = ImageChannel(
        **dataclasses.asdict(config.image), color_order=config.input.color_order
    )
    with context.progress() as bars:
        count = min(len(frames), config.image.degraded_frames) * len(SEEN_KINDS)
        normal = channel.features(
            watched, bars.track(frames.images, total=len(frames), description='image features')
        )
        degraded = channel.features(
            watched,
            bars.track(channel.degraded(frames), total=count, description='degraded frames'),
        )
    channel.fit_features(normal, degraded)
    channel.save(context.output_dir / FILES[ImageChannel])
    names = sequence_names(context)
    source = [names[index] for index in channel.degraded_indices(len(frames))]
    left_out = _left_out(channel, normal, names, degraded, source)
    write_json(context.output_dir / 'image.json', {'left_out': left_out})


def _left_out(
    channel: ImageChannel,
    normal: TapFeatures,
    names: Sequence[str],
    degraded: TapFeatures,
    source: Sequence[str],
) -> dict[str, list[list[float]]]:
    """Return the statistics (N, 3) of each long sequence by a fit on all the others."""
    found = {}
    for name in long_sequences(names):
        kept = torch.tensor([other != name for other in names])
        others = ImageStatistics.of(
            normal.subset(kept),
            degraded.subset(torch.tensor([other != name for other in source])),
            channel.settings['components'],
        )
        values: Tensor = others(normal.subset(~kept))
        found[name] = ((values - channel.center) / channel.spread).tolist()
    return found
