"""`evaluate anomaly`: maps, published regions and alarms on images with labelled unknowns."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from offline_training.data.base import VOID, DataError
from offline_training.data.folder import AnomalyFolder
from offline_training.evaluation.bundle_options import (
    add_bundle_arguments,
    engine,
    opened,
    shown,
    to_error,
)
from offline_training.measures.object_recall import SIZES, ObjectRecall
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.measuring.held_views import HOLDING, hold
from offline_training.measuring.image_folder import ImageFolder
from offline_training.measuring.operating_points import (
    regions_at,
    second_thresholds,
    thresholds,
)
from offline_training.measuring.simulated_camera import Raised
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Frame, UInt8Array
from ros2_ood_monitor.inference.runner import Runner

FUSED = 'fused'
HELD_S = 1.0
SUMMARY = 'maps, regions and alarms of a bundle'
DESCRIPTION = """\
Print AP, FPR95 and AUROC, in per cent, of the fused map and of every map it
is made of: a positive is an anomalous pixel; pixels of all images are pooled.
Then what a user meets: how many objects the regions touch and cover, by their
share of the image, at each operating point of the bundle, false regions, and
alarms of views held for a second. --normal adds images in which nothing is to
be found.
"""
EXAMPLES = """\
  python -m offline_training.evaluate anomaly --bundle runs/camvid/bundle \\
      --data-dir ../shared/camvid_ood --normal ../shared/camvid/test --json -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_bundle_arguments(parser)
    parser.add_argument(
        '--data-dir',
        type=Path,
        metavar='DIR',
        required=True,
        help='folder with images/ and labels_masks/ or labels/',
    )
    parser.add_argument(
        '--normal', type=Path, metavar='DIR', help='folder of images without unknowns'
    )


def run(options: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Measure; there are no `overrides`."""
    dataset = AnomalyFolder(options.data_dir)
    normal = None if options.normal is None else ImageFolder(options.normal)
    with opened(options, all_maps=True) as runner:
        report = _anomalies(runner, dataset, options.data_dir, options.second_look > 0)
        if normal is not None:
            report['normal'] = _normal(runner, normal)
        return {**report, **engine(runner)}


def _anomalies(
    runner: Runner, dataset: AnomalyFolder, folder: Path, second_look: bool
) -> dict[str, Any]:
    bundle, console = runner.bundle, Console(stderr=True)
    names = (FUSED, *(each.name for each in bundle.needed_maps(all_maps=True)))
    curves = {name: PixelCurve() for name in names}
    recalls = {name: ObjectRecall() for name in thresholds(bundle)}
    again = second_thresholds(bundle) if second_look else {}
    raised: list[Raised] = []
    for index in track(range(len(dataset)), 'scoring', console=console):
        sample = dataset[index]
        image = np.ascontiguousarray(sample.image)
        detection = runner.infer(Frame(image))
        maps = {**detection.maps, FUSED: _logit(detection.anomaly_map)}
        counted = sample.labels != VOID
        truth = sample.labels[counted] == 1
        for name, curve in curves.items():
            scores = _at_size(maps[name], sample.labels.shape)
            curve.update(scores[counted], truth)
        probability = _at_size(detection.anomaly_map, sample.labels.shape)
        for name, threshold in thresholds(bundle).items():
            found = probability >= min(threshold, again.get(name, threshold))
            recalls[name].update(sample.labels, found, regions_at(name, detection))
        raised.append(hold(runner, image, HELD_S, index))
    # All maps were met with the same truth.
    if not curves[FUSED].has_both_kinds():
        raise DataError(f'{folder} must have anomalous and normal pixels; one kind is missing')
    for name, curve in curves.items():
        if (warning := curve.flip_warning(name)) is not None:
            console.print(warning)
    return {
        **curves[FUSED].report(),
        'maps': {name: curve.report() for name, curve in curves.items() if name != FUSED},
        'protocol': 'positive = anomaly, ignored pixels excluded, all pixels pooled',
        'objects': {
            name: {'threshold': threshold, **recalls[name].report()}
            for name, threshold in thresholds(bundle).items()
        },
        'held_views': _held(raised),
        'images': len(dataset),
    }


def _normal(runner: Runner, images: Sequence[UInt8Array]) -> dict[str, Any]:
    with_region = dict.fromkeys(thresholds(runner.bundle), 0)
    raised: list[Raised] = []
    console = Console(stderr=True)
    for index in track(range(len(images)), 'normal images', console=console):
        detection: Detection = runner.infer(Frame(np.ascontiguousarray(images[index])))
        for name in with_region:
            with_region[name] += bool(regions_at(name, detection))
        raised.append(hold(runner, images[index], HELD_S, index))
    return {
        'images': len(images),
        'with_a_region': {name: 100 * n / len(images) for name, n in with_region.items()},
        'held_views': _held(raised),
    }


def _held(raised: Sequence[Raised]) -> dict[str, Any]:
    def share(state: State) -> float:
        return 100 * sum(each.at_least(state) is not None for each in raised) / len(raised)

    return {
        'left_nominal': share(State.CAUTION),
        'alert_or_fault': share(State.ALERT),
        'seconds': HELD_S,
        'protocol': HOLDING,
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


def print_report(report: dict[str, Any]) -> None:
    """Print the tables."""
    maps = Table('map', title=report['protocol'])
    for heading in ('AP %', 'FPR95 %', 'AUROC %'):
        maps.add_column(heading, justify='right')
    for name, row in {**report['maps'], FUSED: report}.items():
        maps.add_row(name, *(shown(row[key], 2) for key in ('ap', 'fpr95', 'auroc')))
    found = Table('point', 'size', title='objects found by regions, %')
    for heading in ('objects', 'touched', '>= 25 %', '>= 50 %', 'boxed'):
        found.add_column(heading, justify='right')
    lines: list[object] = [maps, found]
    for point, each in report['objects'].items():
        for size in (*SIZES, 'all'):
            row = each['all'] if size == 'all' else each['by_size'][size]
            keys = ('touched', 'covered_25', 'covered_50', 'boxed_half_of_touched')
            found.add_row(point, size, str(row['objects']), *(shown(row[key]) for key in keys))
        found.add_section()
        lines.append(f'{point}: {each["false_regions_per_frame"]:.2f} false regions per image')
    lines.append('boxed: touched objects of which a box that touches covers half')
    for name, each in {'with objects': report, 'normal': report.get('normal')}.items():
        if each is not None:
            views = each['held_views']
            lines.append(
                f'{name}, views held for {views["seconds"]:g} s: '
                f'{views["left_nominal"]:.1f} % leave NOMINAL, '
                f'{views["alert_or_fault"]:.1f} % ALERT or FAULT'
            )
    for point, value in report.get('normal', {}).get('with_a_region', {}).items():
        lines.append(f'{point}: a region in {value:.1f} % of the normal images')
    to_error(lines)
