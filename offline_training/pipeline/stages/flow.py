"""Stage 2: learn the density of whitened taps on correctly segmented normal pixels."""

from __future__ import annotations

import dataclasses

import torch

from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.dense_flow.flow_training import collect, nll, whiten
from offline_training.learning import ranks
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import FILES


def run(context: Context) -> None:
    """Write flow.safetensors and flow.json (negative log density per dimension, train and val)."""
    config, watched = context.config.flow, context.watched()
    detector = DenseFlowDensity(**dataclasses.asdict(config))
    detector.fit(watched, context.train_data, context.session('flow'))
    if ranks.rank() > 0:
        return
    detector.save(context.output_dir / FILES[DenseFlowDensity])
    flow = detector.trained(watched, *context.train_data[0][1].shape)
    with context.progress() as bars, torch.inference_mode():
        task = bars.add_task('features of val', total=len(context.val_data))
        samples, where = collect(
            watched, flow, context.val_data, config.seed, lambda count: bars.advance(task, count)
        )
        val = float(nll(flow.flow, whiten(flow, samples), where))
    assert detector.learned is not None
    write_json(
        context.output_dir / 'flow.json',
        {'taps': list(flow.taps), 'val': val, 'history': detector.learned.history},
    )
    context.console.print(f'flow: val {val:.3f} nats per dimension')
