"""The command `ood-monitor`: one sub-command per file in `commands/`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

from ros2_ood_monitor import __version__
from ros2_ood_monitor.commands import (
    bench,
    build_engines,
    calibrate,
    demo,
    doctor,
    parameters,
    play,
    replay,
    run,
    training,
    watch,
)
from ros2_ood_monitor.commands.sentence import sentence

COMMANDS = (run, play, watch, replay, calibrate, bench, build_engines, parameters, doctor, demo)
ROBOT, WORKSTATION = COMMANDS[:-1], COMMANDS[-1:]

EPILOG = """\
a first look, without a camera, ROS or a GPU:
  ood-monitor demo

a monitor on a camera topic, in one terminal each:
  ood-monitor run --bundle runs/demo/bundle
  ood-monitor play my_images/ --rate 15
  ood-monitor watch

a monitor of your own images, on a workstation:
  ood-monitor train --data.dataset folder --data-dir my_data

what is missing on this machine:
  ood-monitor doctor
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `ood-monitor`; every sub-command sets `execute`."""
    parser = argparse.ArgumentParser(
        prog='ood-monitor',
        description='Tells a robot when its camera network sees something unknown.',
        epilog=f'{_groups()}\n{EPILOG}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.NAME,
            description=textwrap.fill(command.DESCRIPTION, 78),
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(execute=command.execute)
    for name in training.SUMMARIES:
        # No word is an option here: all are for the module.
        subparser = subparsers.add_parser(name, add_help=False, prefix_chars='\0')
        training.add_arguments(subparser)
        subparser.set_defaults(execute=training.execute)
    return parser


def _groups() -> str:
    """Return the commands with what they do, those of a robot first."""
    robot = {command.NAME: command.SUMMARY for command in ROBOT}
    workstation = {command.NAME: command.SUMMARY for command in WORKSTATION}
    titles = {
        'on a robot:': robot,
        'on a workstation, with torch:': workstation | training.SUMMARIES,
    }
    lines = []
    for title, summaries in titles.items():
        lines.append(title)
        for name, text in summaries.items():
            lines += textwrap.wrap(
                text, 79, initial_indent=f'  {name:<24}', subsequent_indent=' ' * 26
            )
        lines.append('')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit code (2: wrong input, 130: interrupted)."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.execute(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `ood-monitor doctor | head`: the reader left; keep the interpreter's own flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        message = sentence(error)
        if message is None:
            raise
        sys.stderr.write(f'ood-monitor {args.command}: {message}\n')
        return 2
    return code
