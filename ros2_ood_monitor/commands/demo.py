"""`ood-monitor demo`."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NoReturn

NAME = 'demo'
SUMMARY = 'train a small monitor, then watch it catch anomalies and camera faults'
DESCRIPTION = (
    'Trains a monitor on synthetic road scenes (once; minutes), then starts a camera process '
    'and a monitor process that talk over DDS on this machine. Unknown objects stand on the road '
    'at known times, the camera freezes once and dies once, it gets foggy, and the camera is '
    'carried into another world. At the end one table says when each alert came. Exit code 1 '
    'if one was missed, late (0.5 s, for whole views 2 s) or for another reason, or if an alarm '
    'was false.'
)
EXAMPLES = """\
examples:
  ood-monitor demo
  ood-monitor demo --bundle runs/mine/bundle --output /tmp/demo

in another terminal, meanwhile:
  ood-monitor watch --domain-id 87
"""

DOMAIN_ID = 87
"""Away from 0, so that the demo and a robot's own ROS do not meet."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        '--bundle', type=Path, metavar='DIR', help='watch with this bundle, train nothing'
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('runs/demo'),
        metavar='DIR',
        help='bundle, images, bag and logs go here (runs/demo)',
    )
    parser.add_argument(
        '--domain-id', type=int, default=DOMAIN_ID, metavar='N', help=f'DDS domain ({DOMAIN_ID})'
    )


def execute(args: argparse.Namespace) -> int:
    """Train if need be, run the demo, print the table."""
    from rich.console import Console

    from ros2_ood_monitor.demo.director import run_demo
    from ros2_ood_monitor.demo.report import summarize
    from ros2_ood_monitor.demo.schedule import DEMO

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # so that both processes are stopped then, too
    console = Console(highlight=False)
    bundle = args.bundle
    if bundle is None:
        console.rule('training (what was finished before is not repeated)')
        bundle = train(args.output)
    console.rule('demo')
    try:
        outcome, start_s = run_demo(bundle, args.output, DEMO, args.domain_id, console)
    except KeyboardInterrupt:
        console.print('interrupted; camera and monitor are stopped')
        raise
    console.print()
    summarize(console, outcome, start_s)
    console.print(f'overlay images and bag: {args.output}/alert_*.jpg {args.output}/demo.mcap')
    return 0 if outcome.passed else 1


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def train(output: Path) -> Path:
    """Train the synthetic experiment, or finish or skip what an earlier call left."""
    from ros2_ood_monitor.demo.processes import DemoError

    command = [
        sys.executable,
        '-m',
        'offline_training.train',
        '--config',
        str(training_config()),
        '--output',
        str(output),
        '--resume',
    ]
    # In its own session Ctrl-C reaches it once, from here, and it can save where it is.
    with subprocess.Popen(command, start_new_session=True) as training:
        try:
            code = training.wait()
        except KeyboardInterrupt:
            training.send_signal(signal.SIGINT)
            training.wait()
            raise
    if code != 0:
        raise DemoError(f'training ended with code {code}; its message is above')
    return output / 'bundle'


def training_config() -> Path:
    """Return the synthetic experiment's file, in the repository or where pip put it."""
    name = 'config/training/synthetic.yaml'
    repository = Path(__file__).resolve().parents[2]
    installed = Path(sysconfig.get_path('data')) / 'share' / 'ros2_ood_monitor'
    return next(
        (base / name for base in (repository, installed) if (base / name).is_file()),
        repository / name,
    )
