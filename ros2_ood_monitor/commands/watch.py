"""`ood-monitor watch`."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from ros2_ood_monitor.bus.command_line import add_bus_arguments, join, stop_on_signals
from ros2_ood_monitor.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from ros2_ood_monitor.alert import Alert

NAME = 'watch'
SUMMARY = 'the alert, live, as a robot should hear it'
DESCRIPTION = (
    'Prints every change of state of the alert topic. No heartbeat for 0.5 s is printed as '
    'SILENCE, which a robot must treat as FAULT.'
)
EXAMPLES = """\
examples:
  ood-monitor watch
  ood-monitor watch /front/ood/alert
  ood-monitor watch --domain-id 87
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'topic', nargs='?', default='ood/alert', metavar='TOPIC', help='alert topic (ood/alert)'
    )
    add_bus_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Print changes until Ctrl-C."""
    from dataclasses import replace

    from rich.console import Console
    from rich.markup import escape

    from ros2_ood_monitor.messages.topics import ALERT
    from ros2_ood_monitor.node.watcher import watch

    console = Console(highlight=False)
    stop = stop_on_signals()
    middleware = join(args, 'ood_watcher')
    shown: dict[str, tuple[object, ...]] = {}
    try:
        with console.status(f'listening to {args.topic}') as status:
            for alert in watch(middleware, stop, replace(ALERT, name=args.topic)):
                if alert is None:
                    shown.clear()
                    console.print(f'{clock()}  [bold magenta]SILENCE[/]: treat it as FAULT')
                    continue
                status.update(
                    f'{escape(printable(alert.camera, 64))}: score {alert.score:.2f}  '
                    f'evidence {alert.evidence:.1f} of {alert.threshold:.1f}  seq {alert.seq}'
                )
                now = (alert.state, *(cause.code for cause in alert.causes))
                if shown.get(alert.camera) != now:
                    shown[alert.camera] = now
                    show(console, alert)
    finally:
        middleware.close()
    return 0


def clock() -> str:
    """Return the time of day."""
    return time.strftime('%H:%M:%S')


def show(console: Console, alert: Alert) -> None:
    """Print one alert as a line."""
    from rich.markup import escape

    from ros2_ood_monitor.pages.state_styles import STYLES

    latched = ' (latched)' if alert.latched else ''
    camera, message = escape(printable(alert.camera, 64)), escape(printable(alert.message))
    console.print(
        f'{clock()}  {camera}  [{STYLES[alert.state]}]{alert.state.name:12}[/]{latched} {message}'
    )
