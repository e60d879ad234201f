"""Fit flow and observer again without some of the training sequences, to calibrate on those."""

from __future__ import annotations

import dataclasses

from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning import ranks
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.left_out import left_out_file, left_out_groups, sequence_names

SHARE_OF_EPOCHS = 0.5
"""A fit that only calibrates may be shorter: it finds normal scenes rather more unusual."""


def run(context: Context) -> None:
    """Write left_out/N/flow.safetensors and observer.safetensors, and left_out.json.

    The file lists which sequences each fit has not seen.
    """
    config, frames = context.config, context.train_data
    names = sequence_names(context)
    groups: list[list[str]] = []
    # Calibration sequences of painted scenes are painted anew: no detector has seen them.
    if config.data.dataset != 'synthetic':
        groups = left_out_groups(names, config.calibration.left_out_fits)
    epochs = max(1, round(SHARE_OF_EPOCHS * config.observer.epochs))
    observer = dataclasses.replace(config.observer, epochs=epochs)
    for number, group in enumerate(groups):
        context.console.print(f'without {", ".join(group)}')
        kept = frames.subset(index for index, name in enumerate(names) if name not in group)
        for detector in (
            DenseFlowDensity(**dataclasses.asdict(config.flow)),
            LightObserver(**dataclasses.asdict(observer)),
        ):
            session = context.session('left_out').part(f'{number}_{detector.name}')
            detector.fit(context.watched(), kept, session)
            if ranks.rank() == 0:
                path = left_out_file(context, type(detector), number)
                path.parent.mkdir(parents=True, exist_ok=True)
                detector.save(path)
    if ranks.rank() == 0:
        write_json(context.output_dir / 'left_out.json', {'groups': groups})
