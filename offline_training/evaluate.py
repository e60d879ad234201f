"""Measure a segmentation network or a model bundle on labelled images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from offline_training.data.base import VOID, DataError, Split, labels_at_size
from offline_training.data.folder import AnomalyFolder
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import StorageError, write_json
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.measures.segmentation import (
    VOID_PROTOCOLS,
    ConfusionMatrix,
    VoidProtocol,
)
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import network_image, open_dataset, watched_network
from offline_training.watched.prediction import predict_labels
from ros2_ood_monitor.bundle.model_bundle import BundleError, ModelBundle
from ros2_ood_monitor.frame import Frame
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.engines.selection import BACKENDS
from ros2_ood_monitor.inference.runner import Runner, RunnerError

FUSED = 'fused'
SEGMENTATION_EXAMPLES = """\
  python -m offline_training.evaluate segmentation \\
      --config runs/mine/config.yaml --weights runs/mine/backbone.safetensors
  python -m offline_training.evaluate segmentation --weights ESPNET.pth \\
      --config config/training/camvid_espnet.yaml --data-dir ../shared/camvid \\
      --split val --json -
"""
ANOMALY_EXAMPLES = """\
  python -m offline_training.evaluate anomaly --bundle runs/camvid/bundle \\
      --data-dir ../shared/camvid_ood --json -
"""
SEGMENTATION = """\
Print IoU per class, their mean and the pixel accuracy, in per cent. Images are
brought to network size, labels are compared at their own. Every key of the
experiment is an option too, such as --device cpu; the keys are listed by
python -m offline_training.train --help.
"""
ANOMALY = """\
Print AP, FPR95 and AUROC, in per cent, of the fused map and of every map it is
made of. A positive is an anomalous pixel; pixels of all images are pooled.
"""
EPILOG = f"""\
examples:
{SEGMENTATION_EXAMPLES}{ANOMALY_EXAMPLES}
more about one of the two:
  python -m offline_training.evaluate segmentation --help
"""
USER_ERRORS = (ConfigError, DataError, StorageError, BundleError, EngineError, RunnerError)


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


def evaluate_anomaly(directory: Path, data_dir: Path, backend: str) -> dict[str, Any]:
    """Return ap, fpr95 and auroc of the fused map and, under `maps`, of every single map.

    All pixels of all images are pooled at label size, ignored ones (255) left out.
    """
    dataset = AnomalyFolder(data_dir)
    bundle = ModelBundle.load(directory)
    curves = {
        name: PixelCurve()
        for name in (FUSED, *(each.name for each in bundle.needed_maps(all_maps=True)))
    }
    console = Console(stderr=True)
    with Runner(bundle, backend, all_maps=True) as runner:
        for index in track(range(len(dataset)), 'scoring', console=console):
            sample = dataset[index]
            detection = runner.infer(Frame(np.ascontiguousarray(sample.image)))
            maps = {**detection.maps, FUSED: _logit(detection.anomaly_map)}
            counted = sample.labels != VOID
            truth = sample.labels[counted] == 1
            for name, curve in curves.items():
                scores = _at_size(maps[name], sample.labels.shape)
                curve.update(scores[counted], truth)
        engine = runner.description
    # All maps were met with the same truth.
    if not curves[FUSED].has_both_kinds():
        raise DataError(f'{data_dir} must have anomalous and normal pixels; one kind is missing')
    for name, curve in curves.items():
        if (warning := curve.flip_warning(name)) is not None:
            console.print(warning)
    return {
        **curves[FUSED].report(),
        'maps': {name: curve.report() for name, curve in curves.items() if name != FUSED},
        'protocol': 'positive = anomaly, ignored pixels excluded, all pixels pooled',
        'images': len(dataset),
        'bundle': bundle.name,
        'engine': engine,
    }


def _logit(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spread probabilities near 0 and 1, where the histogram of the curve is coarse."""
    p = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.log(p / (1 - p)).astype(np.float32)


def _at_size(values: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring a map to rows and columns, bilinearly."""
    if values.shape == size:
        return values
    resized = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.evaluate',
        description=__doc__,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument('--json', metavar='FILE', help='write the result; - = standard output')

    def add(name: str, summary: str, description: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[output],
            help=summary,
            usage='%(prog)s [options]',
            description=description,
            epilog=f'examples:\n{examples}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    segmentation = add('segmentation', 'IoU of a backbone', SEGMENTATION, SEGMENTATION_EXAMPLES)
    segmentation.add_argument(
        '--config', type=Path, metavar='FILE', help='experiment; config.yaml of a run is one'
    )
    segmentation.add_argument(
        '--weights', type=Path, metavar='FILE', required=True, help='checkpoint of the network'
    )
    segmentation.add_argument('--data-dir', metavar='DIR', help='folder of the data set')
    segmentation.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='test',
        help='which images to measure on (%(default)s)',
    )
    segmentation.add_argument(
        '--protocol',
        choices=VOID_PROTOCOLS,
        metavar='NAME',
        default=VOID_PROTOCOLS[0],
        help=f'what void counts as: {", ".join(VOID_PROTOCOLS)} (%(default)s)',
    )
    anomaly = add('anomaly', 'AP, FPR95 and AUROC of a bundle', ANOMALY, ANOMALY_EXAMPLES)
    anomaly.add_argument(
        '--bundle', type=Path, metavar='DIR', required=True, help='folder of the bundle'
    )
    anomaly.add_argument(
        '--data-dir',
        type=Path,
        metavar='DIR',
        required=True,
        help='folder with images/ and labels_masks/ or labels/',
    )
    anomaly.add_argument(
        '--backend',
        choices=('auto', *BACKENDS),
        default='auto',
        help='engine; auto = the fastest that is ready here (%(default)s)',
    )
    options, overrides = parser.parse_known_args(argv)
    if overrides and options.command == 'anomaly':
        parser.error(f'unrecognized arguments: {" ".join(overrides)}')
    return options, overrides


def _print_report(report: dict[str, Any]) -> None:
    table = Table(title=report['protocol'])
    if 'miou' in report:
        table.add_column('class')
        table.add_column('IoU %', justify='right')
        for name, value in report['iou'].items():
            table.add_row(name, '-' if value is None else f'{value:.2f}')
        table.add_section()
        table.add_row('mean', f'{report["miou"]:.2f}')
        table.add_row('pixel accuracy', f'{report["pixel_accuracy"]:.2f}')
    else:
        for heading in ('map', 'AP %', 'FPR95 %', 'AUROC %'):
            table.add_column(heading, justify='left' if heading == 'map' else 'right')
        for name, row in {**report['maps'], FUSED: report}.items():
            table.add_row(name, *(f'{row[key]:.2f}' for key in ('ap', 'fpr95', 'auroc')))
    Console(stderr=True).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options, overrides = _arguments(argv)
    try:
        if options.command == 'segmentation':
            if options.data_dir is not None:
                overrides += ['--data.data_dir', options.data_dir]
            config = load_config(options.config, overrides)
            report = evaluate_segmentation(
                config, options.weights, options.split, options.protocol
            )
        else:
            report = evaluate_anomaly(options.bundle, options.data_dir, options.backend)
        _print_report(report)
        if options.json == '-':
            sys.stdout.write(json.dumps(report, indent=2) + '\n')
        elif options.json is not None:
            write_json(Path(options.json), report)
    except USER_ERRORS as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
