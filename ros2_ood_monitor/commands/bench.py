"""`ood-monitor bench`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = 'bench'
SUMMARY = 'what watching costs: the monitor against bare segmentation'
DESCRIPTION = (
    'Times the full monitor and bare segmentation on the same engine, interleaved in one run, '
    'and prints the ratio of the medians and the percentiles of every stage.'
)
EXAMPLES = """\
examples:
  ood-monitor bench --bundle runs/demo/bundle
  ood-monitor bench --bundle DIR --against torch-eager --json -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--bundle', type=Path, required=True, metavar='DIR')
    parser.add_argument(
        '--backend', default='auto', choices=('auto', 'openvino', 'onnxruntime', 'tensorrt')
    )
    parser.add_argument(
        '--against',
        choices=('torch-eager',),
        help='also time bare segmentation in PyTorch (needs the training extra)',
    )
    parser.add_argument(
        '--frames', type=positive, default=200, metavar='N', help='frames per variant (200)'
    )
    parser.add_argument(
        '--second-look',
        type=int,
        default=0,
        metavar='N',
        help='look again at a part of every N-th frame (0 = never)',
    )
    parser.add_argument(
        '--json', metavar='FILE', help="write the figures as JSON; '-' is standard output"
    )


def positive(text: str) -> int:
    """Parse an integer > 0."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def execute(args: argparse.Namespace) -> int:
    """Run the benchmark and print or write its figures."""
    from rich.console import Console

    from ros2_ood_monitor.benchmarks.overhead import bench

    result = bench(
        args.bundle,
        args.backend,
        args.against,
        frames=args.frames,
        second_look_every=args.second_look,
    )
    if args.json == '-':
        Console(soft_wrap=True, highlight=False).print(json.dumps(result, indent=1), markup=False)
        return 0
    if args.json is not None:
        Path(args.json).write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    show(result)
    return 0


def show(result: Mapping[str, Any]) -> None:
    """Print the figures as a table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(
        title=f'milliseconds per frame, {result["backend"]}', title_justify='left', box=None
    )
    table.add_column('stage')
    for percentile in ('p50', 'p95', 'p99'):
        table.add_column(percentile, justify='right')
    for stage, figures in result['stages'].items():
        table.add_row(stage, *(f'{figures[key]:.2f}' for key in ('p50', 'p95', 'p99')))
    console.print(table)
    console.print(f'full monitor / bare segmentation: {result["overhead_ratio"]:.2f}')
    if result.get('vs_torch_eager') is not None:
        console.print(f'full monitor / torch eager:       {result["vs_torch_eager"]:.2f}')
