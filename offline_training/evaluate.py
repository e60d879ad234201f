"""Measure a segmentation network, or a model bundle as a user meets it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from offline_training.evaluation import anomaly, drives, events, safety, segmentation, views
from offline_training.learning.command_line import exit_status
from offline_training.learning.store import write_json

COMMANDS = {
    'segmentation': segmentation,
    'anomaly': anomaly,
    'events': events,
    'drives': drives,
    'views': views,
    'safety': safety,
}
EPILOG = f"""\
examples:
{segmentation.EXAMPLES}{anomaly.EXAMPLES}
more about one of them:
  python -m offline_training.evaluate events --help
"""


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog='python -m offline_training.evaluate',
        description=__doc__,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument('--json', metavar='FILE', help='write the result; - = standard output')
    for name, module in COMMANDS.items():
        own = commands.add_parser(
            name,
            parents=[output],
            help=module.SUMMARY,
            usage='%(prog)s [options]',
            description=module.DESCRIPTION,
            epilog=f'examples:\n{module.EXAMPLES}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(own)
    options, overrides = parser.parse_known_args(argv)
    # Only an experiment has keys that are options, too.
    if overrides and options.command != 'segmentation':
        parser.error(f'unrecognized arguments: {" ".join(overrides)}')
    return options, overrides


def _run(options: argparse.Namespace, overrides: list[str]) -> None:
    command = COMMANDS[options.command]
    report = command.run(options, overrides)
    command.print_report(report)
    if options.json == '-':
        sys.stdout.write(json.dumps(report, indent=2) + '\n')
    elif options.json is not None:
        write_json(Path(options.json), report)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    options, overrides = _arguments(argv)
    return exit_status(lambda: _run(options, overrides))


if __name__ == '__main__':
    sys.exit(main())
