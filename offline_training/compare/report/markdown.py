"""The comparison as GitHub Markdown, and in short for the terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from offline_training.compare.report.standings import (
    MEASURES,
    Sets,
    Standings,
    best_of,
    group_title,
    headline,
)
from offline_training.compare.results import Comparison
from ros2_ood_monitor.pages.numbers import percent, three_digits


def table_markdown(comparison: Comparison) -> str:
    """Return one Markdown table per group of sets: AUROC / AP / FPR95 in percent, best in bold."""
    standings = Standings(comparison)
    parts = [f'# {_plain(comparison.title)}', _facts(comparison)]
    for group, sets in standings.groups.items():
        labels = ' / '.join(MEASURES[key][0] for key in headline(group))
        parts += [
            f'## {_plain(group_title(group))}',
            '\n'.join(
                f'- **{_plain(one.name)}**: {_plain(one.title)}. {_plain(one.protocol)}. '
                f'{one.frames} frames'
                + (f' and {one.normal_frames} normal ones.' if one.normal_frames else '.')
                for one in sets
            ),
            f'{labels}, in percent; bold is the best of its kind in a column.',
            _group_table(standings, group, sets),
        ]
    if skipped := [one for one in comparison.detectors if one.skipped]:
        parts += [
            '## Left out',
            '\n'.join(f'- {_plain(one.name)}: {_plain(one.skipped)}' for one in skipped),
        ]
    if flipped := standings.flipped():
        parts += [
            '## Scores that look sign-flipped',
            '\n'.join(
                f'- {_plain(detector)} on {_plain(set_name)}: AUROC '
                f'{percent(standings.results[detector, set_name].measures.get("auroc"))}'
                for detector, set_name in flipped
            ),
        ]
    return '\n\n'.join(parts) + '\n'


def _facts(comparison: Comparison) -> str:
    network = comparison.network
    columns, rows = network.size
    return _plain(
        f'{network.architecture} ({network.weights}), {columns} × {rows}, '
        f'{three_digits(network.ms)} ms per frame alone on {network.device}. '
        f'Made {comparison.created} with version {comparison.version}.'
    )


def _group_table(standings: Standings, group: str, sets: Sets) -> str:
    names = standings.ranked(sets)
    columns = {'ms': {name: three_digits(standings.detectors[name].ms) for name in names}}
    averaged = {'mean': sets} if len(sets) > 1 else {}
    for label, own in {**averaged, **{one.name: [one] for one in sets}}.items():
        cells: dict[str, list[str]] = {name: [] for name in names}
        for key in headline(group):
            values = {name: standings.mean(name, own, key) for name in names}
            best = best_of(values, key)
            for name, value in values.items():
                cells[name].append(f'**{percent(value)}**' if name in best else percent(value))
        columns[label] = {name: ' / '.join(texts) for name, texts in cells.items()}
    lines = [
        '| detector | ' + ' | '.join(map(_plain, columns)) + ' |',
        '|---|' + '---:|' * len(columns),
    ]
    lines += [
        f'| {_plain(name)} | ' + ' | '.join(cells[name] for cells in columns.values()) + ' |'
        for name in names
    ]
    return '\n'.join(lines)


def _plain(text: str | None) -> str:
    """Return text that Markdown shows as it is, in one line, also inside a table."""
    line = ' '.join(str(text).split())
    for mark in '\\`*[]<>|':
        line = line.replace(mark, '\\' + mark)
    return line


def table_text(comparison: Comparison) -> str:
    """Return the mean AUROC per group in percent and milliseconds per frame, for a terminal."""
    standings = Standings(comparison)
    shown = Table(title=escape(comparison.title))
    shown.add_column('detector', no_wrap=True)
    shown.add_column('ms', justify='right')
    columns = []
    for group, sets in standings.groups.items():
        means = {name: standings.mean(name, sets, 'auroc') for name in standings.detectors}
        columns.append((means, best_of(means, 'auroc')))
        shown.add_column(f'{escape(group)} ({len(sets)})', justify='right')
    measured = {detector for detector, _ in standings.results}
    for name, facts in standings.detectors.items():
        if name in measured:
            shown.add_row(
                escape(name),
                three_digits(facts.ms),
                *(
                    percent(means[name]) + (' *' if name in best else '  ')
                    for means, best in columns
                ),
            )
    output = io.StringIO()
    Console(file=output, width=max(80, 26 + 16 * len(columns))).print(shown)
    notes = 'Mean AUROC in percent over the sets of a group; * is the best.\n'
    if flipped := standings.flipped():
        notes += (
            f'{len(flipped)} scores rank normal above anomalous, surely below 50 % AUROC: is a '
            'sign flipped? The report lists them.\n'
        )
    return output.getvalue() + notes
