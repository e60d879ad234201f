"""`evaluate segmentation`: IoU of a backbone on labelled images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from offline_training.data.base import VOID, Split, labels_at_size
from offline_training.evaluation.bundle_options import shown, to_error
from offline_training.measures.segmentation import (
    VOID_PROTOCOLS,
    ConfusionMatrix,
    VoidProtocol,
)
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import network_image, open_dataset, watched_network
from offline_training.watched.prediction import predict_labels

SUMMARY = 'IoU of a backbone'
DESCRIPTION = """\
Print IoU per class, their mean and the pixel accuracy, in per cent. Images
are brought to network size, labels are compared at their own. Every key of
the experiment is an option too, such as --device cpu; the keys are listed by
python -m offline_training.train --help.
"""
EXAMPLES = """\
  python -m offline_training.evaluate segmentation \\
      --config runs/mine/config.yaml --weights runs/mine/backbone.safetensors
  python -m offline_training.evaluate segmentation --weights ESPNET.pth \\
      --config config/training/camvid_espnet.yaml --data-dir ../shared/camvid \\
      --split val --json -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        '--config', type=Path, metavar='FILE', help='experiment; config.yaml of a run is one'
    )
    parser.add_argument(
        '--weights', type=Path, metavar='FILE', required=True, help='checkpoint of the network'
    )
    parser.add_argument('--data-dir', metavar='DIR', help='folder of the data set')
    parser.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='test',
        help='which images to measure on (%(default)s)',
    )
    parser.add_argument(
        '--protocol',
        choices=VOID_PROTOCOLS,
        metavar='NAME',
        default=VOID_PROTOCOLS[0],
        help=f'what void counts as: {", ".join(VOID_PROTOCOLS)} (%(default)s)',
    )


def run(options: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Measure, with `overrides` of the experiment's keys."""
    if options.data_dir is not None:
        overrides = [*overrides, '--data.data_dir', options.data_dir]
    config = load_config(options.config, overrides)
    return evaluate_segmentation(config, options.weights, options.split, options.protocol)


def evaluate_segmentation(
    config: Config, weights: Path, split: Split, protocol: VoidProtocol
) -> dict[str, Any]:
    """Return miou, iou per class, pixel_accuracy and protocol of `weights` on one split.

    Images are brought to network size; labels are compared at their own size.
    """
    dataset = open_dataset(config, split)
    classes = list(dataset.class_names)
    watched = watched_network(config, weights, len(classes))
    matrix = ConfusionMatrix(len(classes))
    console = Console(stderr=True)
    for index in track(range(len(dataset)), f'segmenting {split}', console=console):
        sample = dataset[index]
        image = network_image(sample.image, config)
        labels = predict_labels(watched.network, watched.normalize, image, len(classes))
        # Unknown objects (labels beyond the classes) count as void: no class is right there.
        truth = np.where(sample.labels < len(classes), sample.labels, VOID)
        matrix.update(truth, labels_at_size(labels, truth.shape))
    return {**matrix.report(classes, protocol), 'split': split, 'images': len(dataset)}


def print_report(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table('class', title=report['protocol'])
    table.add_column('IoU %', justify='right')
    for name, value in report['iou'].items():
        table.add_row(name, shown(value, 2))
    table.add_section()
    table.add_row('mean', shown(report['miou'], 2))
    table.add_row('pixel accuracy', shown(report['pixel_accuracy'], 2))
    to_error([table])
