"""The report of `make campaign`: what ran, for how long, and the figures it recorded."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import pytest

import ros2_ood_monitor

_HEAD = """\
# Campaign

What takes too long for `make test`: long fuzzing, long random histories, a soak.
Written by `make campaign`, not by hand.

Run on {date} with version {version}, Python {python}, {cores} cores: {passed} of {total} passed.

| test | outcome | seconds | figures |
|---|---|---|---|
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the report goes; without it none is written."""
    parser.addoption('--campaign-report', type=Path, metavar='FILE', help='a Markdown file')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the campaign out unless its report is asked for."""
    if config.getoption('campaign_report') is None:
        left_out = [item for item in items if item.get_closest_marker('campaign')]
        items[:] = [item for item in items if not item.get_closest_marker('campaign')]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the figures that tests recorded with `record_property`."""
    path = terminalreporter.config.getoption('campaign_report')
    if path is None:
        return
    reports = [
        report
        for outcome in ('passed', 'failed', 'error', 'skipped')
        for report in terminalreporter.getreports(outcome)
        # A module that is skipped as a whole gives a report of another kind.
        if isinstance(report, pytest.TestReport) and (report.when == 'call' or outcome != 'passed')
    ]
    rows = [
        f'| {report.nodeid.partition("::")[2]} | {report.outcome} | {report.duration:.0f} | '
        + '; '.join(f'{name}: {value}' for name, value in report.user_properties)
        + ' |\n'
        for report in sorted(reports, key=lambda report: report.nodeid)
    ]
    head = _HEAD.format(
        date=time.strftime('%Y-%m-%d'),
        version=ros2_ood_monitor.__version__,
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)),
        passed=sum(report.outcome == 'passed' for report in reports),
        total=len(reports),
    )
    path.write_text(head + ''.join(rows), encoding='utf-8')
