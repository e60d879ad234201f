"""`evaluate views`: perturbed, foreign and clean views at alarm level."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from offline_training.evaluation.bundle_options import engine, opened, shown, to_error
from offline_training.evaluation.view_options import add_view_arguments, hold_all
from offline_training.measuring import views

SUMMARY = 'which degraded and foreign views leave NOMINAL, and why'
DESCRIPTION = """\
Hold views of every kind for two seconds and print how many leave NOMINAL,
after how long, and with which causes: clean ones, all 15 perturbations (those
that trained parts may have seen apart from the others), a grey image, a
flipped camera and other worlds. A view is one image repeated with a little
sensor noise.
"""
EXAMPLES = """\
  python -m offline_training.evaluate views --bundle runs/camvid/bundle \\
      --data ../shared/camvid/val --foreign kitti=../shared/kitti/drive_b
  python -m offline_training.evaluate views --bundle runs/mine/bundle \\
      --data my_images --severity 0.3 --views 50 --json views.json
"""

add_arguments = add_view_arguments


def run(options: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Measure; there are no `overrides`."""
    with opened(options) as runner:
        rows = [views.summary(kind, raised) for kind, raised in hold_all(options, runner)]
        return {
            'kinds': rows,
            'groups': views.group_means(rows),
            'protocol': views.protocol(options.seconds, options.severity),
            'severity': options.severity,
            'seconds': options.seconds,
            'seed': options.seed,
            **engine(runner),
        }


def print_report(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table('kind', 'group', title='views that leave NOMINAL, %')
    for heading in ('views', 'left', 'alert', 'delay s'):
        table.add_column(heading, justify='right')
    table.add_column('causes', overflow='fold')
    for row in report['kinds']:
        table.add_row(
            row['kind'],
            row['group'],
            str(row['views']),
            shown(row['left_nominal'], 0),
            shown(row['alert_or_fault'], 0),
            shown(row['median_delay_s'], 2),
            ', '.join(f'{code} {value:.0f}' for code, value in row['causes'].items()),
        )
    lines = [
        f'{group}: {each["left_nominal"]:.1f} % on average; '
        f'{each["kinds_at_90"]} of {each["kinds"]} kinds at 90 % or more'
        for group, each in report['groups'].items()
    ]
    to_error([table, *lines, report['protocol']])
