"""`ood-monitor replay`."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = 'replay'
SUMMARY = 'judge recorded images: same code path, no middleware, full speed'
DESCRIPTION = (
    'Judges the images of SOURCE as the monitor would live, as fast as this machine can, and '
    'writes a bag of ROS 2 messages, overlay pictures of alerts and the list of alerts.'
)
EXAMPLES = """\
examples:
  ood-monitor replay --bundle runs/demo/bundle synthetic:3 --output runs/replay
  ood-monitor replay --bundle DIR my_images/ --output OUT
  ood-monitor replay --bundle DIR drive.mcap --output OUT
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('source', metavar='SOURCE', help='folder, video, bag or synthetic[:SEED]')
    parser.add_argument('--bundle', type=Path, required=True, metavar='DIR')
    parser.add_argument('--output', type=Path, required=True, metavar='OUT')


def execute(args: argparse.Namespace) -> int:
    """Replay and print the summary."""
    from ros2_ood_monitor.replay import replay

    replay(args.bundle, args.source, args.output)
    return 0
