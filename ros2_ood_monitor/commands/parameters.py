"""`ood-monitor parameters`."""

from __future__ import annotations

import argparse
import sys

NAME = 'parameters'
SUMMARY = 'every runtime parameter, its default and its range'
DESCRIPTION = 'Prints the table of runtime parameters, or a configuration file to start from.'
EXAMPLES = """\
examples:
  ood-monitor parameters
  ood-monitor parameters --yaml > my_monitor.yaml
  ood-monitor run --config my_monitor.yaml --bundle DIR
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--yaml', action='store_true', help='as a ROS 2 parameter file')
    form.add_argument('--markdown', action='store_true', help='as docs/parameters.md')


def execute(args: argparse.Namespace) -> int:
    """Print the parameters in the form asked for."""
    from ros2_ood_monitor.parameter_file import parameters_yaml
    from ros2_ood_monitor.parameters import PARAMETERS

    if args.yaml:
        sys.stdout.write(parameters_yaml())
        return 0
    if args.markdown:
        sys.stdout.write(page())
        return 0

    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console(highlight=False)
    for parameter in PARAMETERS.values():
        value = str(parameter.default)
        value = value.lower() if isinstance(parameter.default, bool) else value or "''"
        limits = f'{parameter.range} {parameter.unit}'.strip()
        console.print(
            f'[bold]{parameter.name}[/]: {escape(value)}'
            + (f'  [dim]({escape(limits)})[/]' if limits else '')
        )
        console.print(Padding(escape(parameter.description), (0, 0, 0, 4)))
    return 0


def page() -> str:
    """Return the whole of docs/parameters.md."""
    from ros2_ood_monitor.parameter_file import parameters_markdown

    return (
        '# Parameters\n'
        '\n'
        'The same names in a ROS 2 parameter file, in `ros2 param set` and in `ood-monitor run\n'
        '--config FILE`. "live" may be changed while the monitor runs. This page is made by\n'
        '`ood-monitor parameters --markdown > docs/parameters.md` (`make docs`).\n'
        '\n'
    ) + parameters_markdown()
