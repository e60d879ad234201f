"""Stage 2: learn the density of whitened taps on correctly segmented normal pixels."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from offline_training.detectors.dense_flow.flow import DenseFlow, TapFlow
from offline_training.detectors.dense_flow.flow_training import (
    build_flow,
    collect,
    nll,
    train_epochs,
    whiten,
)
from offline_training.learning.store import (
    read_checkpoint,
    read_tensors,
    write_checkpoint,
    write_json,
    write_tensors,
)
from offline_training.pipeline.context import Context
from offline_training.segmentation.backbones.base import Backbone
from offline_training.watched.base import Watched


def build(context: Context, backbone: Backbone) -> TapFlow:
    """Return an untrained flow for this backbone and configuration."""
    config, size = context.config.flow, context.config.input
    return build_flow(backbone, config, size.height, size.width).to(context.device)


def restore(context: Context, backbone: Backbone) -> TapFlow:
    """Return the trained flow of this run, frozen."""
    flow = build(context, backbone)
    flow.load_state_dict(read_tensors(context.output_dir / 'flow.safetensors'))
    return flow.eval().requires_grad_(False)


def run(context: Context) -> None:
    """Write flow.safetensors and flow.json (negative log density per dimension, train and val)."""
    config = context.config.flow
    torch.manual_seed(config.seed)
    backbone = context.backbone()
    watched = Watched(backbone, context.normalize(), len(context.train.class_names))
    flow = build(context, backbone)
    found = {}
    with context.progress() as bars:
        for split, data in (('train', context.train_data), ('val', context.val_data)):
            task = bars.add_task(f'features of {split}', total=len(data.images))
            found[split] = collect(
                watched, flow, data.images, data.labels, config.seed, partial(bars.advance, task)
            )
    (samples, where), (held_out, held_where) = found['train'], found['val']
    flow.whitening.fit(samples)
    history = _fit(
        context, flow.flow, whiten(flow, samples), where, whiten(flow, held_out), held_where
    )
    write_tensors(context.output_dir / 'flow.safetensors', flow.state_dict())
    write_json(
        context.output_dir / 'flow.json',
        {'taps': list(flow.taps), 'samples': len(samples), 'history': history},
    )
    context.console.print(f'flow: val {history[-1]["val"]:.3f} nats per dimension')


def _fit(
    context: Context,
    flow: DenseFlow,
    samples: Tensor,
    where: Tensor,
    held_out: Tensor,
    held_where: Tensor,
) -> list[dict[str, float]]:
    config = context.config.flow
    optimizer = torch.optim.Adam(flow.parameters(), lr=config.learning_rate)
    path = context.output_dir / 'checkpoints' / 'flow.pt'
    history: list[dict[str, float]] = []
    if state := read_checkpoint(path):
        flow.load_state_dict(state['flow'])
        optimizer.load_state_dict(state['optimizer'])
        history = state['history']
    with context.progress() as bars:
        task = bars.add_task('flow', total=config.epochs, completed=len(history))
        for loss in train_epochs(flow, optimizer, samples, where, config, len(history)):
            with torch.inference_mode():
                val = float(
                    np.mean(
                        [
                            nll(flow, x, c).item()
                            for x, c in zip(
                                held_out.split(8192), held_where.split(8192), strict=True
                            )
                        ]
                    )
                )
            history.append({'train': loss, 'val': val})
            write_checkpoint(
                path,
                {
                    'flow': flow.state_dict(),
                    'optimizer': optimizer.state_dict(),
                    'history': history,
                },
            )
            bars.advance(task)
    return history
