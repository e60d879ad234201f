"""Try an exported bundle on what nothing in it has learned from: the table `cannot_see`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from offline_training.measuring.blind_spots import SEED, Row, blind_spots, views_in
from offline_training.measuring.image_folder import spread
from offline_training.pipeline.context import Context
from offline_training.synthesis.negatives import held_out_negatives
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.scenes import SceneGenerator

DRIVE_S = 10.0
"""Longest normal drive, in seconds."""


def examine(context: Context, bundle: Path) -> list[Row]:
    """Return the rows of `cannot_see` of the bundle in a folder; print what it mostly misses."""
    count = context.config.export.examined_views
    negatives = held_out_negatives(context.config.observer.objects)
    chosen = spread(range(len(context.val_data)), count)
    normal = [_rgb(context, index) for index in chosen]
    with Runner(ModelBundle.load(bundle)) as runner, context.progress() as bars:
        task = bars.add_task('what it cannot see', total=views_in(len(normal)))
        drive = list(_drive(context))
        rows = blind_spots(runner, normal, drive, negatives, lambda: bars.advance(task))
    missed = [
        f'{row["what"]} ({100 * row["seen_share"]:.0f} %)'
        for row in rows
        if row['seen_share'] is not None and row['seen_share'] < 0.5
    ]
    context.console.print(
        f'mostly not seen within 2 s: {", ".join(missed) or "nothing of what was tried"}'
    )
    return rows


def _rgb(context: Context, index: int) -> UInt8Array:
    """Return a validation image at network size, in RGB as a camera sends it."""
    image = context.val_data.images[index]
    turned = context.config.input.color_order == 'bgr'
    return np.ascontiguousarray(image[..., ::-1]) if turned else image


def _drive(context: Context) -> Iterator[UInt8Array]:
    """Yield a normal drive: a rendered one, or the first validation sequence."""
    config, size = context.config.calibration, context.config.input
    frames = round(DRIVE_S * config.frame_rate)
    if context.config.data.dataset == 'synthetic':
        generator = SceneGenerator(SEED, size.width, size.height)
        yield from (frame.image for frame in generator.clip(0, frames, fps=config.frame_rate))
        return
    names = [context.val_data.sequence(index) for index in range(len(context.val_data))]
    _, first = next(groupby(range(len(names)), names.__getitem__))
    yield from (_rgb(context, index) for index in list(first)[:frames])
