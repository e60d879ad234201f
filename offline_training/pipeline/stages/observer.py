"""Stage 3: attack the frozen backbone and train the observer to see where it fails."""

from __future__ import annotations

from functools import partial

import torch

from offline_training.detectors.observer.observer import Observer
from offline_training.detectors.observer.observer_training import (
    build_observer,
    new_optimizer,
    steps_per_epoch,
    train_epochs,
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


def build(context: Context, backbone: Backbone) -> Observer:
    """Return an untrained observer for this backbone and configuration."""
    config, size = context.config.observer, context.config.input
    return build_observer(backbone, config, size.height, size.width).to(context.device)


def restore(context: Context, backbone: Backbone) -> Observer:
    """Return the trained observer of this run, frozen."""
    observer = build(context, backbone)
    observer.load_state_dict(read_tensors(context.output_dir / 'observer.safetensors'))
    return observer.eval().requires_grad_(False)


def run(context: Context) -> None:
    """Write observer.safetensors and observer.json (loss per epoch)."""
    config = context.config.observer
    torch.manual_seed(config.seed)
    backbone = context.backbone()
    watched = Watched(backbone, context.normalize(), len(context.train.class_names))
    observer = build(context, backbone)
    optimizer = new_optimizer(observer, config)
    data = context.train_data
    steps = steps_per_epoch(data.images, config)
    path = context.output_dir / 'checkpoints' / 'observer.pt'
    history: list[float] = []
    if state := read_checkpoint(path):
        observer.load_state_dict(state['observer'])
        optimizer.load_state_dict(state['optimizer'])
        history = state['history']

    with context.progress() as bars:
        task = bars.add_task(
            'observer', total=steps * config.epochs, completed=steps * len(history)
        )
        for loss in train_epochs(
            observer,
            optimizer,
            watched,
            data.images,
            data.labels,
            config,
            partial(bars.advance, task),
            len(history),
        ):
            history.append(loss)
            bars.update(task, description=f'observer, loss {loss:.3f}')
            write_checkpoint(
                path,
                {
                    'observer': observer.state_dict(),
                    'optimizer': optimizer.state_dict(),
                    'history': history,
                },
            )
    write_tensors(context.output_dir / 'observer.safetensors', observer.state_dict())
    write_json(context.output_dir / 'observer.json', {'loss': history})
