"""Stage 1: train the segmentation network, or import a finished checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from offline_training.learning import ranks
from offline_training.learning.store import write_json, write_tensors
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.pipeline.context import Context
from offline_training.segmentation.backbones import build_backbone
from offline_training.segmentation.backbones.checkpoints import (
    load_checkpoint,
    load_initial_weights,
)
from offline_training.segmentation.class_weights import class_weights
from offline_training.segmentation.trainer import train_network, training_labels
from offline_training.watched.prediction import confusion


def run(context: Context) -> None:
    """Write backbone.safetensors and backbone.json (architecture, classes, val figures)."""
    config = context.config.backbone
    torch.manual_seed(config.seed)
    network = build_backbone(config.architecture, num_classes=context.num_outputs)
    extra: dict[str, Any]
    if config.weights is not None:
        load_checkpoint(network, Path(config.weights))
        network = network.to(context.device).eval()
        extra = {'weights': Path(config.weights).name}
    else:
        if config.initial_weights is not None:
            load_initial_weights(network, Path(config.initial_weights))
        extra = _train(context, network)
    if ranks.rank() > 0:
        return
    report = _confusion(context, network).report(list(context.train.class_names))
    context.console.print(f'backbone: val mIoU {report["miou"]:.2f} ({report["protocol"]})')
    write_tensors(context.output_dir / 'backbone.safetensors', network.state_dict())
    write_json(
        context.output_dir / 'backbone.json',
        {
            'architecture': config.architecture,
            'num_classes': context.num_outputs,
            'class_names': list(context.train.class_names),
            'val': report,
            **extra,
        },
    )


def _confusion(context: Context, network: nn.Module) -> ConfusionMatrix:
    classes = len(context.train.class_names)
    return confusion(network.eval(), context.normalize(), context.val_data, classes)


def _train(context: Context, network: nn.Module) -> dict[str, Any]:
    config, frames = context.config.backbone, context.train_data
    num_classes = len(context.train.class_names)
    with context.progress() as bars:
        labels = (
            training_labels(own, num_classes, config.train_void)
            for own in bars.track(frames.labels, description='class weights')
        )
        weights = class_weights(
            labels, context.num_outputs, config.class_weighting, config.enet_offset
        )
    learned = train_network(
        network.to(context.device),
        context.normalize(),
        frames,
        num_classes,
        weights,
        config,
        lambda candidate: {'score': _confusion(context, candidate).miou()},
        context.session('backbone'),
    )
    return {
        'epochs': learned.epochs,
        'minutes': round(learned.seconds / 60, 2),
        'history': learned.history,
    }
