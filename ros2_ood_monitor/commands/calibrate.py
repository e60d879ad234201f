"""`ood-monitor calibrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ros2_ood_monitor.commands.source_arguments import add_source_arguments

NAME = 'calibrate'
SUMMARY = 'calibrate a bundle again on new normal recordings'
DESCRIPTION = (
    'Scores normal recordings with the engine that will run, and writes a bundle whose '
    'references, thresholds and alarm rules fit them. Each SOURCE is a sequence; parts of one '
    'between which no image came for a minute are sequences of their own. Fewer than five certify '
    'no rate.'
)
EXAMPLES = """\
examples:
  ood-monitor calibrate --bundle DIR recordings/*.mcap --output NEW
  ood-monitor calibrate --bundle DIR recordings/*.mcap --output NEW --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'source', metavar='SOURCE', nargs='+', help='folder, video, bag or synthetic[:SEED]'
    )
    parser.add_argument('--bundle', type=Path, required=True, metavar='DIR')
    parser.add_argument(
        '--output', type=Path, required=True, metavar='NEW', help='folder of the new bundle'
    )
    parser.add_argument(
        '--per-hour', type=float, metavar='N', help="false alarms asked for (the bundle's)"
    )
    add_source_arguments(parser)
    parser.add_argument(
        '--resume',
        action='store_true',
        help='do not score again what NEW.records holds of an interrupted run',
    )


def execute(args: argparse.Namespace) -> int:
    """Calibrate and say what changed."""
    from collections.abc import Iterable

    from rich.console import Console
    from rich.progress import track

    from ros2_ood_monitor.bundle.model_bundle import ModelBundle
    from ros2_ood_monitor.calibration.certifying import certifying_sentence
    from ros2_ood_monitor.calibration.changes_table import changes_table
    from ros2_ood_monitor.calibration.findings import findings
    from ros2_ood_monitor.calibration.recalibration import recalibrate
    from ros2_ood_monitor.recordings.sources import Source, open_source

    def show(rows: Iterable[None], source: Source) -> Iterable[None]:
        return track(rows, source.name, source.count, console=Console(stderr=True), transient=True)

    bundle = ModelBundle.load(args.bundle)
    sources = [open_source(each, args.rate, args.bag_topic) for each in args.source]
    found = recalibrate(
        bundle, sources, args.output, args.per_hour, args.backend, args.resume, show
    )
    console = Console(highlight=False, markup=False)
    console.print(changes_table(found.before, found.after), soft_wrap=True)
    certificates = [each.certificate for each in found.after.values()]
    asked = sum(each.budget_per_hour for each in certificates)
    console.print(
        '\n'
        + certifying_sentence(certificates[0].sequences or 0, certificates[0].hours or 0, asked)
    )
    for sentence in findings(found.after):
        console.print(f'warning: {sentence}', style='bold')
    console.print(f'the new bundle is {args.output}', soft_wrap=True)
    return 0
