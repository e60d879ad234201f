"""`ood-monitor replay`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ros2_ood_monitor.commands.source_arguments import add_source_arguments

NAME = 'replay'
SUMMARY = 'score recorded images: same code path, no middleware, full speed'
DESCRIPTION = (
    'Scores the images of SOURCE as the monitor would live, as fast as this machine can, and '
    'writes a bag of ROS 2 messages, overlay images of alerts and the list of alerts.'
)
EXAMPLES = """\
examples:
  ood-monitor replay --bundle runs/demo/bundle synthetic:3 --output runs/replay
  ood-monitor replay --bundle DIR my_images/ --output OUT
  ood-monitor replay --bundle DIR recording.mcap --output OUT
"""

SHOWN = 40
"""Lines of the summary on the terminal; a long recording may have hundreds of changes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('source', metavar='SOURCE', help='folder, video, bag or synthetic[:SEED]')
    parser.add_argument('--bundle', type=Path, required=True, metavar='DIR')
    parser.add_argument(
        '--output', type=Path, required=True, metavar='OUT', help='folder for the results'
    )
    parser.add_argument('--config', type=Path, metavar='FILE', help='ROS 2 parameter file')
    add_source_arguments(parser)
    parser.add_argument(
        '--overlays',
        '--pictures',  # its name in 0.1
        type=int,
        default=200,
        metavar='N',
        help='at most N overlay images (200)',
    )


def execute(args: argparse.Namespace) -> int:
    """Replay and print the summary."""
    from dataclasses import replace as replaced

    from rich.console import Console
    from rich.progress import track

    from ros2_ood_monitor.bundle.model_bundle import ModelBundle
    from ros2_ood_monitor.inference.region_of_interest import region_of_interest
    from ros2_ood_monitor.parameter_file import read_parameters
    from ros2_ood_monitor.recordings.replay import replay
    from ros2_ood_monitor.recordings.sources import open_source
    from ros2_ood_monitor.supervision.config import SupervisionConfig

    config = area = None
    again = 0
    bundle = ModelBundle.load(args.bundle)
    if args.config is not None:
        values = read_parameters(args.config)
        # The stamps of a recording are old by nature.
        config = replaced(SupervisionConfig.from_parameters(values), check_stamp_age=False)
        area = region_of_interest(bundle, values)
        again = int(values['second_look_every'])
    source = open_source(args.source, args.rate, args.bag_topic)
    images = track(source, source.name, source.count, console=Console(stderr=True), transient=True)
    summary = replay(bundle, images, args.output, args.backend, config, args.overlays, area, again)
    console = Console(highlight=False, markup=False)
    lines = summary.text().splitlines()
    for line in lines[:SHOWN]:
        console.print(line, no_wrap=True, overflow='ellipsis')
    if len(lines) > SHOWN:
        console.print(f'... {len(lines) - SHOWN} more lines in summary.json', soft_wrap=True)
    console.print(f'\nall results are in {args.output}', soft_wrap=True)
    return 0
