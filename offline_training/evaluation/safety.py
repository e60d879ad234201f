"""`evaluate safety`: what the monitor is worth, by channel."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from offline_training.data.base import DataError
from offline_training.data.folder import AnomalyFolder
from offline_training.evaluation.bundle_options import engine, opened, share, to_error
from offline_training.evaluation.view_options import add_view_arguments, hold_all
from offline_training.measures.safety import RETURNS, View, safety
from offline_training.measuring import views
from offline_training.measuring.channel_causes import channel_causes
from offline_training.measuring.held_views import hold
from offline_training.measuring.image_folder import spread
from offline_training.measuring.simulated_camera import Raised
from ros2_ood_monitor.inference.runner import Runner

SUMMARY = 'safety gain, residual hazard and availability cost'
DESCRIPTION = """\
Print Safety Gain, Residual Hazard and Availability Cost (Guerin, Ferreira,
Delmas and Guiochet 2022, arXiv 2208.14660) of each channel, of the input
checks and of the whole monitor, over views held for two seconds: clean ones
are safe, perturbed, grey and foreign ones, and images with unknown objects,
are hazards. The return functions stand in the output.
"""
EXAMPLES = """\
  python -m offline_training.evaluate safety --bundle runs/camvid/bundle \\
      --data ../shared/camvid/val --anomalies my_anomalies --json -
"""
OBJECTS = 'objects'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_view_arguments(parser)
    parser.add_argument(
        '--anomalies',
        type=Path,
        metavar='DIR',
        help='images with unknown objects, as of evaluate anomaly',
    )
    parser.add_argument(
        '--hazard-share',
        type=share,
        metavar='X',
        default=0.5,
        help='how many views are taken to be hazards (%(default)s)',
    )
    parser.add_argument(
        '--caution',
        type=share,
        metavar='X',
        default=0.5,
        help='how far CAUTION slows down; 1 stops (%(default)s)',
    )


def run(options: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Measure; there are no `overrides`."""
    with opened(options) as runner:
        found = hold_all(options, runner)
        safe = [each for kind, raised in found if not kind.hazardous for each in raised]
        hazards: dict[str, list[Raised]] = {}
        for kind, raised in found:
            if kind.hazardous:
                hazards.setdefault(kind.group, []).extend(raised)
        if options.anomalies is not None:
            hazards[OBJECTS] = _objects(options, runner)
        every_view = [*safe, *(each for raised in hazards.values() for each in raised)]
        seen = {code for each in every_view for code in each.codes}
        parts: dict[str, frozenset[str] | None] = {
            **channel_causes(runner.bundle.channels, seen),
            'all together': None,
        }
    rows = []
    for part, codes in parts.items():
        states = [View(False, each.worst(codes)) for each in safe]
        of_group = {
            group: [View(True, each.worst(codes)) for each in raised]
            for group, raised in hazards.items()
        }
        every = [view for group in of_group.values() for view in group]
        figures = safety([*states, *every], options.caution, options.hazard_share)
        gains = {
            group: safety(group_views, options.caution, 1.0).safety_gain
            for group, group_views in of_group.items()
        }
        rows.append({'part': part, **asdict(figures), 'safety_gain_on': gains})
    return {
        'parts': rows,
        'returns': RETURNS,
        'caution': options.caution,
        'hazard_share': options.hazard_share,
        'views': {'safe': len(safe), **{name: len(each) for name, each in hazards.items()}},
        'protocol': 'states that the causes of each part alone bring about within the view; '
        + views.protocol(options.seconds, options.severity),
        **engine(runner),
    }


def _objects(options: argparse.Namespace, runner: Runner) -> list[Raised]:
    dataset = AnomalyFolder(options.anomalies)
    if not len(dataset):
        raise DataError(f'{options.anomalies} holds no images')
    chosen = spread(range(len(dataset)), options.views)
    console = Console(stderr=True)
    return [
        hold(runner, dataset[index].image, options.seconds, options.seed + index)
        for index in track(chosen, 'objects', console=console)
    ]


def print_report(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table('part', title='of 1; higher gain, lower hazard and cost are better')
    for heading in ('safety gain', 'residual hazard', 'availability cost'):
        table.add_column(heading, justify='right')
    for row in report['parts']:
        keys = ('safety_gain', 'residual_hazard', 'availability_cost')
        table.add_row(row['part'], *(f'{row[key]:.3f}' for key in keys))
    gains = Table('part', title='safety gain where every view is a hazard, by kind')
    groups = list(report['parts'][0]['safety_gain_on'])
    for group in groups:
        gains.add_column(group, justify='right')
    for row in report['parts']:
        gains.add_row(row['part'], *(f'{row["safety_gain_on"][group]:.2f}' for group in groups))
    to_error(
        [
            table,
            gains,
            f'{100 * report["hazard_share"]:g} % of the views are taken to be hazards',
            report['returns'],
            f'c = {report["caution"]:g}',
        ]
    )
