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
    demo,
    doctor,
    parameters,
    play,
    replay,
    run,
    watch,
)

COMMANDS = (run, play, watch, replay, bench, build_engines, parameters, doctor, demo)

EXTRA_OF_MODULE = {
    'cyclonedds': 'dds',
    'mcap': 'bags',
    'rosbags': 'bags',
    'openvino': 'openvino',
    'onnxruntime': 'onnxruntime',
    'tensorrt': 'tensorrt',
    'pycuda': 'tensorrt',
    'tensorrt_rtx': 'tensorrt-rtx',
    'torch': 'training',
    'torchvision': 'training',
    'onnx': 'training',
    'jsonargparse': 'training',
    'msgspec': 'training',
    'jinja2': 'pages',
    'markupsafe': 'pages',
    'sklearn': 'training',
}
"""Which pip extra brings a module that may be absent."""

EPILOG = """\
a first look, without a camera, ROS or a GPU:
  ood-monitor demo

a monitor on a camera topic, in one terminal each:
  ood-monitor run --bundle runs/demo/bundle
  ood-monitor play my_images/ --rate 15
  ood-monitor watch

what is missing on this machine:
  ood-monitor doctor
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `ood-monitor`; every sub-command sets `execute`."""
    parser = argparse.ArgumentParser(
        prog='ood-monitor',
        description='Tells a robot when its camera network sees something unknown.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=textwrap.fill(command.DESCRIPTION, 78),
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(execute=command.execute)
    return parser


def sentence(error: Exception) -> str | None:
    """Return what to tell the user, or None if `error` is a defect that needs its traceback.

    An error class of this project, and an operating system error on a named file, speak to the
    user; a missing optional package is named with the extra that brings it.
    """
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        extra = EXTRA_OF_MODULE.get(error.name.partition('.')[0])
        if extra is not None:
            return (
                f"the Python package '{error.name}' is missing; "
                f"type: pip install '.[{extra}]' in the repository"
            )
        return None
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    if type(error).__module__.partition('.')[0] in ('ros2_ood_monitor', 'offline_training'):
        return ' '.join(str(error).split())
    return None


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
