"""`ood-monitor build-engines`."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = 'build-engines'
SUMMARY = 'build the TensorRT engines of a bundle ahead of time'
DESCRIPTION = (
    'Builds the TensorRT engines of a bundle into DIR/engines, so that the monitor starts at '
    'once on the robot. Engines fit one GPU and one TensorRT version; others are rebuilt. '
    'With tensorrt-rtx this works on a machine without a GPU.'
)
EXAMPLES = """\
examples:
  ood-monitor build-engines --bundle runs/demo/bundle
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--bundle', type=Path, required=True, metavar='DIR')


def execute(args: argparse.Namespace) -> int:
    """Build every network's engine and name the files."""
    from rich.console import Console

    from ros2_ood_monitor.inference.engines.build import build_engines

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for engine in build_engines(args.bundle, 'tensorrt', console.print):
        console.print(f'{engine}  {engine.stat().st_size / 1e6:.1f} MB')
    return 0
