"""`evaluate drives`: false alarms of a bundle of painted scenes in hours of its own world."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from offline_training.evaluation.bundle_options import (
    add_bundle_arguments,
    engine,
    opened,
    positive,
    shown,
    to_error,
)
from offline_training.learning.progress import progress
from offline_training.measuring.simulated_camera import SimulatedCamera, frame_rate
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.scenes import SceneGenerator

SEED = 70_000_003
"""Apart from the scenes of training, validation and calibration."""
SUMMARY = 'false alarms in hours of painted driving'
DESCRIPTION = """\
Paint drives of the world of `make demo` at the bundle's size, show them to the
monitor at its frame rate, and count how often it enters ALERT, where nothing
unknown is. Printed with the exact 95 % interval of a Poisson count, beside the
rate that the bundle states. For bundles of painted scenes; an hour of driving
takes about a quarter of an hour.
"""
EXAMPLES = """\
  python -m offline_training.evaluate drives --bundle runs/demo/bundle \\
      --hours 10
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_bundle_arguments(parser)
    parser.add_argument(
        '--hours', type=positive, metavar='H', default=1.0, help='of driving (%(default)s)'
    )
    parser.add_argument(
        '--minutes', type=positive, metavar='M', default=1.0, help='of one drive (%(default)s)'
    )
    parser.add_argument('--seed', type=int, metavar='N', default=0, help='(%(default)s)')


def run(options: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Measure; there are no `overrides`."""
    with opened(options) as runner:
        return {**_drives(runner, options), **engine(runner)}


def _drives(runner: Runner, options: argparse.Namespace) -> dict[str, Any]:
    bundle, fps = runner.bundle, frame_rate(runner)
    generator = SceneGenerator(SEED + options.seed, bundle.width, bundle.height)
    frames = max(1, round(60 * options.minutes * fps))
    count = max(1, round(60 * options.hours / options.minutes))
    alarms, codes = 0, dict[str, int]()
    in_state = dict.fromkeys((state.name for state in State), 0)
    bars = progress(Console(stderr=True))
    with bars:
        task = bars.add_task('driving', total=count * frames)
        for drive in range(count):
            camera, before = SimulatedCamera(runner, fps), State.NOMINAL
            for frame in generator.clip(drive, frames, fps):
                state = camera.show(frame.image)
                in_state[state.name] += 1
                alarms += state >= State.ALERT > before
                before = state
                bars.advance(task)
            for code in camera.raised.codes:
                codes[code] = codes.get(code, 0) + 1
    hours = count * frames / fps / 3600
    certificates = [each.certificate for each in bundle.channels.values()]
    stated = [each.certified_per_hour for each in certificates if each.certified_per_hour]
    return {
        'hours': hours,
        'drives': count,
        'alarms': alarms,
        'per_hour': alarms / hours,
        'interval': [each / hours for each in poisson_interval(alarms)],
        'stated_per_hour': sum(stated) if len(stated) == len(certificates) else None,
        'frames': {name: number for name, number in in_state.items() if number},
        'drives_with_cause': codes,
        'protocol': 'an alarm = the state becomes ALERT or FAULT; painted drives of seeds that '
        'nothing was trained or calibrated on, each begins anew',
    }


def poisson_interval(count: int, share: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of the mean of a Poisson count (Garwood, 1936)."""
    # Not above: scipy looks at torch when it is imported, and a missing one is told by name.
    from scipy.stats import chi2

    tail = (1 - share) / 2
    low = 0.0 if count == 0 else float(chi2.ppf(tail, 2 * count)) / 2
    return low, float(chi2.ppf(1 - tail, 2 * count + 2)) / 2


def print_report(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table('hours', 'alarms', 'per hour', '95 %', 'stated')
    low, high = report['interval']
    stated = report['stated_per_hour']
    table.add_row(
        f'{report["hours"]:.2f}',
        str(report['alarms']),
        shown(report['per_hour'], 2),
        f'{low:.2f} to {high:.2f}',
        'uncertified' if stated is None else f'{stated:.2f}',
    )
    frames = ', '.join(f'{name} {number}' for name, number in report['frames'].items())
    to_error([table, f'frames: {frames}', report['protocol']])
