"""`ood-monitor replay`."""

from __future__ import annotations

import argparse
import sys
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
    parser.add_argument(
        '--backend', default='auto', choices=('auto', 'openvino', 'onnxruntime', 'tensorrt'),
        help='engine (auto)',
    )
    parser.add_argument('--topic', metavar='T', help='which images, if a bag has several topics')
    parser.add_argument(
        '--rate', type=float, metavar='HZ', help="images per second (the source's own, else 30)"
    )
    parser.add_argument(
        '--pictures', type=int, default=200, metavar='N', help='at most N overlay pictures (200)'
    )


def execute(args: argparse.Namespace) -> int:
    """Replay and print the summary."""
    from rich.console import Console
    from rich.progress import track

    from ros2_ood_monitor.bundle import ModelBundle
    from ros2_ood_monitor.replay import replay
    from ros2_ood_monitor.sources import open_source

    bundle = ModelBundle.load(args.bundle)
    source = open_source(args.source, args.rate, args.topic)
    images = track(
        source, source.name, source.count, console=Console(stderr=True), transient=True
    )
    summary = replay(bundle, images, args.output, args.backend, pictures=args.pictures)
    sys.stdout.write(f'{summary.text()}\nall results are in {args.output}\n')
    return 0
