"""The comparison as GitHub Markdown, and in short for the terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from offline_training.compare.report.formatting import percent, three_digits
from offline_training.compare.report.standings import (
    MEASURES,
    Standings,
    best_of,
    group_title,
    headline,
)


def table_markdown(table: Mapping[str, Any]) -> str:
    """Return one Markdown table per group of sets: AUROC / AP / FPR95 in percent, best in bold."""
    standings = Standings(table)
    parts = [f'# {_plain(table["title"])}', _facts(table)]
    for group, sets in standings.groups.items():
        labels = ' / '.join(MEASURES[key][0] for key in headline(group))
        parts += [
            f'## {_plain(group_title(group))}',
            '\n'.join(
                f'- **{_plain(one["name"])}**: {_plain(one["title"])}. {_plain(one["protocol"])}. '
                f'{_frames(one)}.'
                for one in sets
            ),
            f'{labels}, in percent; bold is the best of its kind in a column.',
            _group_table(standings, group),
        ]
    skipped = [row for row in table['detectors'] if row.get('skipped')]
    if skipped:
        parts += [
            '## Left out',
            '\n'.join(f'- {_plain(row["name"])}: {_plain(row["skipped"])}' for row in skipped),
        ]
    flipped = standings.flipped()
    if flipped:
        parts += [
            '## Scores that look sign-flipped',
            '\n'.join(
                f'- {_plain(detector)} on {_plain(set_name)}: AUROC '
                f'{percent(standings.measure(detector, set_name, "auroc"))}'
                for detector, set_name in flipped
            ),
        ]
    return '\n\n'.join(parts) + '\n'


def _facts(table: Mapping[str, Any]) -> str:
    network = table['network']
    columns, rows = network['size']
    return _plain(
        f'{network["architecture"]} ({network["weights"]}), {columns} × {rows}, '
        f'{three_digits(network["ms"])} ms per frame alone on {network["device"]}. '
        f'Made {table["created"]} with version {table["version"]}.'
    )


def _frames(one: Mapping[str, Any]) -> str:
    normal = f' and {one["normal_frames"]} normal ones' if one['normal_frames'] else ''
    return f'{one["frames"]} frames{normal}'


def _group_table(standings: Standings, group: str) -> str:
    sets, keys, names = standings.groups[group], headline(group), standings.ranked(group)
    columns: dict[str, dict[str, str]] = {
        'ms': {name: three_digits(standings.milliseconds(name)) for name in names}
    }
    if len(sets) > 1:
        columns['mean'] = _cells(
            {key: {name: standings.mean(name, group, key) for name in names} for key in keys}
        )
    for one in sets:
        columns[one['name']] = _cells(
            {
                key: {name: standings.measure(name, one['name'], key) for name in names}
                for key in keys
            }
        )
    lines = [
        '| detector | ' + ' | '.join(map(_plain, columns)) + ' |',
        '|---|' + '---:|' * len(columns),
    ]
    lines += [
        f'| {_plain(name)} | ' + ' | '.join(cells[name] for cells in columns.values()) + ' |'
        for name in names
    ]
    return '\n'.join(lines)


def _cells(values: Mapping[str, Mapping[str, float | None]]) -> dict[str, str]:
    """Return a cell per detector with its measures in one line."""
    cells: dict[str, list[str]] = {}
    for key, column in values.items():
        best = best_of(column, key)
        for name, value in column.items():
            text = percent(value)
            cells.setdefault(name, []).append(f'**{text}**' if name in best else text)
    return {name: ' / '.join(texts) for name, texts in cells.items()}


def _plain(text: Any) -> str:
    """Return text that Markdown shows as it is, in one line, also inside a table."""
    line = ' '.join(str(text).split())
    for mark in '\\`*[]<>|':
        line = line.replace(mark, '\\' + mark)
    return line


def table_text(table: Mapping[str, Any]) -> str:
    """Return the mean AUROC per group in percent and milliseconds per frame, for a terminal."""
    standings = Standings(table)
    shown = Table(title=escape(table['title']))
    shown.add_column('detector', no_wrap=True)
    shown.add_column('ms', justify='right')
    columns = []
    for group, sets in standings.groups.items():
        means = {name: standings.mean(name, group, 'auroc') for name in standings.detectors}
        columns.append((means, best_of(means, 'auroc')))
        shown.add_column(f'{escape(group)} ({len(sets)})', justify='right')
    measured = {detector for detector, _ in standings.results}
    for name in standings.detectors:
        if name in measured:
            shown.add_row(
                escape(name),
                three_digits(standings.milliseconds(name)),
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
