"""Deep Residual Flow's own protocol: tell images of one data set from others.

Trains an image classifier on --inside, fits Mahalanobis and Residual Flow on
its activations and scores the test images of --inside against those of each of
--outside. No image of --outside is learnt from: layers and magnitude are chosen
on FGSM frames alone (Zisselman and Tamar 2020). What --output already holds is
used again. TNR95, AUIN: positive = inside; AUOUT: positive = outside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from offline_training.data.classification import OPENERS, TorchvisionSet
from offline_training.data.frames import Frames
from offline_training.detectors.base import Detector
from offline_training.detectors.logit_scores.logit_scores import MaxSoftmax
from offline_training.detectors.mahalanobis.mahalanobis import Mahalanobis
from offline_training.detectors.residual_flow.residual_flow import ResidualFlow
from offline_training.learning.command_line import exit_status
from offline_training.learning.session import Session
from offline_training.learning.store import (
    read_tensors,
    write_json,
    write_tensors,
)
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.pipeline.context import choose_device
from offline_training.segmentation.backbones.classifiers import (
    CLASSIFIERS,
    build_classifier,
)
from offline_training.segmentation.classifier_training import train_classifier
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize
from ros2_ood_monitor.bundle.store import Entry

EPILOG = """\
examples:
  python -m offline_training.residual_flow_protocol --inside cifar10 \\
      --outside svhn,cifar100 --data-dir DATA --output runs/cifar10
  # a first look: a few images, two epochs
  python -m offline_training.residual_flow_protocol --inside cifar10 \\
      --outside svhn --data-dir DATA --output runs/look --epochs 2 \\
      --images 2000 --test-images 500
"""
SIDE = 32
# Grey levels of 0..255; those of the paper's networks.
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
DETECTORS: tuple[type[Detector], ...] = (MaxSoftmax, Mahalanobis, ResidualFlow)
COLUMNS = {
    'tnr95_success': 'TNR95',
    'auroc': 'AUROC',
    'detection_accuracy': 'accuracy',
    'auin': 'AUIN',
    'auout': 'AUOUT',
}


def read_frames(dataset: TorchvisionSet, most: int | None) -> Frames:
    """Return the first `most` samples: images uint8 (32, 32, 3) and labels ()."""
    return Frames.of(dataset).subset(range(len(dataset))[:most])


def run_protocol(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Return accuracy in 0..1 and, by set and detector, the measures in 0..1; fill `output`.

    Raises:
        DataError: a data set is missing or damaged.
        FloatingPointError: the classifier diverged.
    """
    device = choose_device(options.device)
    test = {
        name: read_frames(TorchvisionSet(name, options.data_dir, 'test'), options.test_images)
        for name in (options.inside, *options.outside)
    }
    dataset = TorchvisionSet(options.inside, options.data_dir, 'train')
    train = read_frames(dataset, options.images)
    settings: dict[str, Any] = {
        'inside': options.inside,
        'network': options.network,
        'epochs': options.epochs,
        'batch_size': options.batch_size,
        'images': options.images,
        'seed': options.seed,
    }
    torch.manual_seed(options.seed)
    network = build_classifier(options.network, len(dataset.class_names)).to(device)
    normalize = Normalize(InputConfig(SIDE, SIDE, 'rgb', MEAN, STD)).to(device)
    weights = options.output / 'classifier.safetensors'
    trained = Entry(options.output, 'classifier', settings)
    if trained.why_not() is None:
        network.load_state_dict(read_tensors(weights))
    else:
        train_classifier(
            network,
            normalize,
            train,
            options.epochs,
            options.batch_size,
            options.inside != 'svhn',
            options.seed,
            Session(options.output / 'classifier.pt', console=console),
        )
        write_tensors(weights, network.state_dict())
        trained.record(files=[weights])
    watched = Watched(network, normalize, len(dataset.class_names))
    detectors = _fitted(watched, train, options, trained.digest(), console)
    scores = {
        name: {
            set_name: _scores(detector, watched, frames, options.batch_size)
            for set_name, frames in test.items()
        }
        for name, detector in track(detectors.items(), 'scoring', console=console)
    }
    table = {
        **settings,
        'magnitudes': options.magnitudes,
        'accuracy': _accuracy(watched, test[options.inside], options.batch_size),
        'protocol': 'TNR95, AUIN: positive = inside; AUOUT: positive = outside; test images of '
        'both; nothing is chosen on outside',
        'results': {
            set_name: {
                name: _measures(own[options.inside], own[set_name]) for name, own in scores.items()
            }
            for set_name in options.outside
        },
    }
    write_json(options.output / 'table.json', table)
    return table


def _fitted(
    watched: Watched,
    frames: Frames,
    options: argparse.Namespace,
    classifier: str,
    console: Console,
) -> dict[str, Detector]:
    found: dict[str, Detector] = {}
    for kind in DETECTORS:
        settings = {} if kind is MaxSoftmax else {'magnitudes': options.magnitudes}
        properties = {**settings, 'classifier': classifier, 'images': options.images}
        entry = Entry(options.output, kind.name, properties)
        path = options.output / f'{kind.name}.safetensors'
        if (reason := entry.why_not()) is not None:
            console.print(f'fitting {kind.name}: {reason}')
            kind(**settings).fit(watched, frames).eval().save(path)
            entry.record(files=[path])
        found[kind.name] = kind.load(path).to(watched.device)
    return found


def _scores(
    detector: Detector, watched: Watched, frames: Frames, batch_size: int
) -> NDArray[np.float32]:
    parts = [
        detector.score_frame(watched, images).detach().float().cpu().numpy()
        for images, _ in frames.batches(batch_size, watched.device)
    ]
    return np.concatenate(parts)


def _accuracy(watched: Watched, frames: Frames, batch_size: int) -> float:
    with torch.inference_mode():
        right = sum(
            int((watched(images).argmax(1) == labels).sum())
            for images, labels in frames.batches(batch_size, watched.device)
        )
    return right / len(frames.images)


def _measures(inside: NDArray[np.float32], outside: NDArray[np.float32]) -> dict[str, float]:
    curve = PixelCurve()
    curve.update(
        np.concatenate([outside, inside]), np.repeat([True, False], [len(outside), len(inside)])
    )
    return curve.measures()


def _print_table(table: Mapping[str, Any], console: Console) -> None:
    shown = Table(title=f'{table["inside"]}, accuracy {100 * table["accuracy"]:.2f} %')
    shown.add_column('outside, detector')
    for label in COLUMNS.values():
        shown.add_column(label, justify='right')
    for set_name, rows in table['results'].items():
        for name, measures in rows.items():
            shown.add_row(
                f'{set_name}, {name}', *(f'{100 * measures[key]:.1f}' for key in COLUMNS)
            )
    console.print(shown)
    console.print(table['protocol'])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.residual_flow_protocol',
        usage='%(prog)s [options]',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--inside',
        choices=OPENERS,
        required=True,
        help='set that is known; the classifier learns it',
    )
    parser.add_argument(
        '--outside',
        required=True,
        metavar='SETS',
        type=lambda text: text.split(','),
        help='comma-separated sets that are not',
    )
    parser.add_argument(
        '--data-dir',
        type=Path,
        required=True,
        metavar='DIR',
        help='the files as torchvision has them; nothing is downloaded',
    )
    parser.add_argument('--output', type=Path, metavar='DIR', required=True, help='result folder')
    parser.add_argument(
        '--network', choices=CLASSIFIERS, default='resnet34', help='classifier (%(default)s)'
    )
    parser.add_argument(
        '--epochs',
        type=_positive,
        default=100,
        metavar='N',
        help='passes over --inside (%(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=_positive,
        default=128,
        metavar='N',
        help='images per step (%(default)s)',
    )
    parser.add_argument(
        '--images', type=_positive, metavar='N', help='learn from the first N only (default: all)'
    )
    parser.add_argument(
        '--test-images', type=_positive, metavar='N', help='score the first N only (default: all)'
    )
    parser.add_argument(
        '--magnitudes',
        type=float,
        nargs='+',
        metavar='X',
        default=[0.0, 0.06, 0.13, 0.32],
        help='steps of input pre-processing to choose from, in grey levels (%(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=1, metavar='N', help='seed of weights and order (%(default)s)'
    )
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='where to train'
    )
    options = parser.parse_args(argv)
    if unknown := [name for name in options.outside if name not in OPENERS]:
        parser.error(f'--outside {unknown[0]!r} is not one of {", ".join(OPENERS)}')
    if options.inside in options.outside:
        parser.error(f'{options.inside} cannot be inside and outside')
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not 1 or more')
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options = _options(argv)
    return exit_status(
        lambda: _print_table(run_protocol(options, Console(stderr=True)), Console())
    )


if __name__ == '__main__':
    sys.exit(main())
