"""`ood-monitor doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = 'doctor'
SUMMARY = 'what is there, what is missing, what to type'
DESCRIPTION = (
    'Examines this machine (engines, middleware, socket buffers, disk) and, with --bundle, '
    'loads a bundle and scores its self-test images with every engine found. '
    'Exit code 0 if a monitor can run here, 1 if not.'
)
EXAMPLES = """\
examples:
  ood-monitor doctor
  ood-monitor doctor --bundle runs/demo/bundle
"""


WIDTH = 80
"""Columns; a wider terminal does not make the table easier to read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--bundle', type=Path, metavar='DIR', help='also test this bundle')


def execute(args: argparse.Namespace) -> int:
    """Print the table and the advice."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ros2_ood_monitor.commands.examination import Status, able, examine, examine_bundle

    findings = examine()
    fit = able(findings)
    if args.bundle is not None:
        tested = examine_bundle(args.bundle)
        fit = fit and any(
            finding.status is Status.OK for finding in tested if finding.group == 'bundle'
        )
        findings += tested

    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    style = {Status.OK: 'green', Status.MISSING: 'bold red', Status.OPTIONAL: 'yellow'}
    table = Table(title='ood-monitor doctor', title_justify='left', box=None, pad_edge=False)
    for heading in ('', 'part', 'status', 'found'):
        table.add_column(heading, overflow='fold')
    group = ''
    for finding in findings:
        table.add_row(
            finding.group if finding.group != group else '',
            finding.name,
            f'[{style[finding.status]}]{finding.status.value}[/]',
            escape(finding.detail),
        )
        group = finding.group
    console.print(table)
    advice = list(dict.fromkeys(finding.advice for finding in findings if finding.advice))
    if advice:
        console.print('\nto add what is absent, type (in the repository):')
        for command in advice:
            console.print(f'  {command}', markup=False, soft_wrap=True)
    console.print(
        '\n[green]A monitor can run here.[/]' if fit else '\n[bold red]No monitor can run here.[/]'
    )
    return 0 if fit else 1
