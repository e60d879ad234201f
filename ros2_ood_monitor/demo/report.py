"""The demo on the terminal: one line per change of state, one table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ros2_ood_monitor.demo.outcome import Outcome, Transition, is_answer
from ros2_ood_monitor.demo.truth import Injected
from ros2_ood_monitor.pages.state_styles import STYLES


def announce_event(console: Console, one: Injected, origin_s: float) -> None:
    """Say what has just been injected."""
    console.print(f'{one.start_s - origin_s:6.2f} s  [dim]injected:[/] {escape(one.event.what)}')


def announce_change(
    console: Console, change: Transition, known: Sequence[Injected], origin_s: float
) -> None:
    """Say that the alert topic changed state, with the delay if it answers an event."""
    style = STYLES[change.state]
    delay = next(
        (
            f'  [bold]+{(change.at_s - one.start_s) * 1e3:.0f} ms[/]'
            for one in known
            if is_answer(change, one)
        ),
        '',
    )
    console.print(
        f'{change.at_s - origin_s:6.2f} s  [{style}]{change.state.name:12}[/]{delay}  '
        f'[dim]{escape(change.text)}[/]',
        no_wrap=True,
        overflow='ellipsis',
    )


def summarize(console: Console, outcome: Outcome, origin_s: float) -> None:
    """Print the final table."""
    table = Table(title='What was injected, and when the alert came', title_justify='left')
    table.add_column('injected')
    for heading in ('at', 'alert', 'delay', 'safe again'):
        table.add_column(heading, justify='right')
    for answer in outcome.answers:
        one, delay = answer.injected, answer.delay_s
        cells = ['[bold red]MISSED[/]', '-', '-']
        if answer.alert is not None and delay is not None:
            late = not answer.in_time
            cells = [
                f'[{STYLES[answer.alert.state]}]{answer.alert.state.name}[/]',
                f'[{"bold red" if late else "green"}]{delay * 1e3:.0f} ms[/]',
                '-' if answer.cleared_s is None else f'{answer.cleared_s - one.end_s:+.1f} s',
            ]
        table.add_row(escape(one.event.what), f'{one.start_s - origin_s:.1f} s', *cells)
    console.print(table)
    count = len(outcome.false_alarms)
    console.print(f'false alarms: [{"bold red" if count else "green"}]{count}[/]')
    for change in outcome.false_alarms:
        console.print(
            f'  {change.at_s - origin_s:.2f} s {change.state.name}: {escape(change.text)}'
        )
