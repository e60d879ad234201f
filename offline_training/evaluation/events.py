"""`evaluate events`: objects that the camera drives towards."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from offline_training.evaluation.bundle_options import (
    add_bundle_arguments,
    engine,
    opened,
    positive,
    positive_integer,
    share,
    shown,
    to_error,
)
from offline_training.learning.progress import progress
from offline_training.measuring import events
from offline_training.measuring.image_folder import ImageFolder
from offline_training.measuring.simulated_camera import frame_rate
from offline_training.synthesis.cutouts import Cutouts
from offline_training.synthesis.negatives import held_out_negatives

SUMMARY = 'at which distance and how late objects on the road are seen'
DESCRIPTION = """\
Paste objects into a drive, ordered images of one camera, so that they stand
on the ground and grow as the camera drives towards them, and run the bundle
over it with the supervision of the monitor on a simulated clock. Prints for
CAUTION (or worse) and for ALERT (or worse) how many objects were found, at
which distance and how long after they appeared, false alarms before that, and
alarms of the drive without objects. The camera looks straight ahead over flat
ground.
"""
EXAMPLES = """\
  python -m offline_training.evaluate events --bundle runs/camvid/bundle \\
      --drive ../shared/camvid/val --objects ../shared/cutouts --held-out
  python -m offline_training.evaluate events --bundle runs/mine/bundle \\
      --drive my_drive --rate 10 --objects my_cutouts --focal 720 \\
      --camera-height 1.6 --speed 8 --start 40 --json events.json
"""
_DEFAULT = events.Approach()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_bundle_arguments(parser)
    parser.add_argument(
        '--drive', type=Path, metavar='DIR', required=True, help='images in order of names'
    )
    parser.add_argument(
        '--objects', type=Path, metavar='DIR', required=True, help='cut-outs with alpha'
    )
    parser.add_argument(
        '--held-out',
        action='store_true',
        help='only the cut-outs of the folder that no detector is trained on',
    )
    parser.add_argument(
        '--count', type=positive_integer, metavar='N', default=40, help='objects (%(default)s)'
    )
    parser.add_argument(
        '--rate', type=positive, metavar='HZ', help="images per second (the bundle's own)"
    )
    parser.add_argument(
        '--focal', type=positive, metavar='PX', help="focal length in pixels (the image's width)"
    )
    for option, default, what in (
        ('--camera-height', _DEFAULT.camera_height, 'metres above the ground'),
        ('--speed', _DEFAULT.speed, 'metres per second'),
        ('--start', _DEFAULT.start, 'metres at which an object appears'),
        ('--end', _DEFAULT.end, 'metres at which the approach ends'),
        ('--height', _DEFAULT.height, 'metres, of an object'),
        ('--lateral', _DEFAULT.lateral, 'metres, farthest to the left or right'),
        ('--before', _DEFAULT.before, 'seconds without the object'),
    ):
        parser.add_argument(
            option, type=positive, metavar='X', default=default, help=f'{what} (%(default)s)'
        )
    parser.add_argument(
        '--horizon',
        type=share,
        metavar='X',
        default=_DEFAULT.horizon,
        help="its row, as a share of the image's height (%(default)s)",
    )
    parser.add_argument('--seed', type=int, metavar='N', default=0, help='(%(default)s)')


def run(options: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Measure; there are no `overrides`."""
    approach = events.Approach(
        options.focal, options.camera_height, options.horizon, options.speed, options.start,
        options.end, options.height, options.lateral, options.before,
    )  # fmt: skip
    drive = ImageFolder(options.drive)
    if options.held_out:
        objects = held_out_negatives(str(options.objects)).cutouts
    else:
        objects = Cutouts(options.objects)
    with opened(options) as runner, progress(Console(stderr=True)) as bars:
        fps = options.rate or frame_rate(runner)
        task = bars.add_task('objects', total=options.count)
        found = events.events(
            runner, drive, objects, options.count, approach, fps, options.seed,
            lambda: bars.advance(task),
        )  # fmt: skip
        task_alone = bars.add_task('drive alone', total=len(drive))
        alarms = events.alarms(runner, drive, fps, lambda: bars.advance(task_alone))
        report = events.report(found, approach, fps, options.seed)
        report['assumed']['focal'] = approach.camera(drive[0]).focal
        return {
            **report,
            'drive': {
                'folder': str(options.drive),
                'frames': len(drive),
                'seconds': len(drive) / fps,
                'alarms_without_objects_s': alarms,
            },
            'objects': {
                'folder': str(options.objects),
                'available': len(objects),
                'held_out': options.held_out,
            },
            **engine(runner),
        }


def print_report(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table('at', title='approaching objects')
    for heading in ('found', 'of', 'median distance m', 'median delay s'):
        table.add_column(heading, justify='right')
    for name in events.LEVELS:
        row = report[name]
        table.add_row(
            f'{name.upper()} or worse',
            str(row['found']),
            str(row['of']),
            shown(row['median_distance_m']),
            shown(row['median_delay_s'], 2),
        )
    drive = report['drive']
    assumed = ', '.join(f'{name} {value:g}' for name, value in report['assumed'].items())
    to_error(
        [
            table,
            f'false alarms before an object: {report["false_alarms_before"]}; alarms of the '
            f'drive without objects: {len(drive["alarms_without_objects_s"])} in '
            f'{drive["seconds"]:.1f} s',
            f'assumed: {assumed} (metres, seconds, pixels)',
        ]
    )
