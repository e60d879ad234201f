"""The tables of the comparison report, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from offline_training.compare.report.formatting import (
    NOTHING,
    breakable,
    finite,
    interval,
    percent,
    three_digits,
)
from offline_training.compare.report.standings import (
    MEASURES,
    Standings,
    best_of,
    group_title,
    headline,
)

EXTRAS = {
    'ece': ('calibration', 'ECE', False),
    'ace': ('calibration', 'ACE', False),
    'siou': ('components', 'sIoU', True),
    'ppv': ('components', 'PPV', True),
    'f1': ('components', 'mean F1', True),
}
"""Columns besides the measures: where they stand in a result, label, whether more is better."""


def heat_table(standings: Standings) -> str:
    """Return all detectors on all sets, coloured; AUROC, AP or FPR95 can be chosen."""
    groups, all_flipped = standings.groups, set(standings.flipped())
    names = sorted(
        (
            name
            for name in standings.detectors
            if any(
                (name, one['name']) in standings.results
                for sets in groups.values()
                for one in sets
            )
        ),
        key=lambda name: _overall(standings, name),
    )
    heads = ['<tr><th class="name" rowspan="2">Detector</th><th rowspan="2">ms</th>']
    columns = ['<tr>']
    for group, sets in groups.items():
        wide = len(sets) > 1
        heads.append(
            f'<th class="group" colspan="{len(sets) + wide}">{escape(group_title(group))}</th>'
        )
        if wide:
            columns.append('<th class="turn first"><span>mean</span></th>')
        for index, one in enumerate(sets):
            first = '' if wide or index else ' first'
            columns.append(
                f'<th class="turn{first}" title="{escape(one["title"])}">'
                f'<span>{escape(one["name"])}</span></th>'
            )
    rows = {
        name: [
            f'<tr data-detector="{escape(name)}"><th class="name" scope="row">{breakable(name)}'
            f'</th><td>{three_digits(standings.milliseconds(name))}</td>'
        ]
        for name in names
    }
    for group, sets in groups.items():
        keys = headline(group)
        if len(sets) > 1:
            means = {name: [standings.mean(name, group, key) for key in keys] for name in names}
            _add_column(rows, means, keys, 'first mean')
        for index, one in enumerate(sets):
            values = {
                name: [standings.measure(name, one['name'], key) for key in keys] for name in names
            }
            flipped = {name for name in names if (name, one['name']) in all_flipped}
            first = 'first' if len(sets) == 1 and not index else ''
            _add_column(rows, values, keys, first, flipped)
    body = ''.join(''.join(cells) + '</tr>' for cells in rows.values())
    return (
        '<div class="heat">'
        '<input type="radio" name="show" id="show-auroc" checked>'
        '<label for="show-auroc">AUROC</label>'
        '<input type="radio" name="show" id="show-ap"><label for="show-ap">AP</label>'
        '<input type="radio" name="show" id="show-fpr"><label for="show-fpr">FPR95</label>'
        f'<div class="scroll"><table class="sortable"><thead>{"".join(heads)}</tr>'
        f'{"".join(columns)}</tr></thead><tbody>{body}</tbody></table></div></div>'
    )


def _overall(standings: Standings, name: str) -> tuple[int, float]:
    """Order by the mean of the group means; those that lack a group follow."""
    means = [standings.mean(name, group, 'auroc') for group in standings.groups]
    known = [mean for mean in means if mean is not None]
    return len(means) - len(known), -sum(known) / max(len(known), 1)


def _add_column(
    rows: Mapping[str, list[str]],
    values: Mapping[str, Sequence[float | None]],
    keys: Sequence[str],
    kind: str,
    flipped: Iterable[str] = (),
) -> None:
    best = [
        best_of({name: three[index] for name, three in values.items()}, key)
        for index, key in enumerate(keys)
    ]
    turned = set(flipped)
    for name, three in values.items():
        spans = []
        for index, (shown, value) in enumerate(zip(('auroc', 'ap', 'fpr'), three, strict=True)):
            if value is None:
                spans.append(f'<span class="{shown}">{NOTHING}</span>')
                continue
            kinds = shown + ' best' * (name in best[index])
            kinds += ' low' * (shown == 'auroc' and value < 0.5)
            spans.append(
                f'<span class="{kinds}" style="--v:{_strength(shown, value):.0f}">'
                f'{percent(value)}</span>'
            )
        warning = ' flipped" title="looks sign-flipped' if name in turned else ''
        rows[name].append(f'<td class="{kind}{warning}">{"".join(spans)}</td>')


def _strength(shown: str, value: float) -> float:
    """Return how strongly a cell is coloured, 0..100; AUROC is spread at the upper end."""
    if shown == 'auroc':
        return 100 * min(1.0, abs(2 * value - 1)) ** 1.7
    return 100 * (value if shown == 'ap' else 1 - value)


def short_table(standings: Standings, one: Mapping[str, Any], hues: Mapping[str, int]) -> str:
    """Return the coloured detectors of a set with their three headline measures."""
    keys = headline(one['group'])
    order = [name for name in standings.ranked_on(one['name']) if name in hues]
    head = ''.join(f'<th>{MEASURES[key][0].replace(", ", "<br>")}</th>' for key in keys)
    best = {
        key: best_of(
            {name: standings.measure(name, one['name'], key) for name in standings.detectors},
            key,
        )
        for key in keys
    }
    rows = []
    for name in order:
        cells = ''.join(
            _cell(standings, name, one['name'], key, name in best[key]) for key in keys
        )
        rows.append(
            f'<tr data-detector="{escape(name)}"><th class="name" scope="row">'
            f'<i class="swatch fill{hues[name]}"></i><span>{breakable(name)}</span></th>'
            f'{cells}</tr>'
        )
    return (
        '<div class="scroll"><table class="short"><thead><tr><th class="name">Detector</th>'
        f'{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _cell(standings: Standings, name: str, set_name: str, key: str, best: bool) -> str:
    value = standings.measure(name, set_name, key)
    bounds = interval(standings.interval(name, set_name, key))
    small = f'<small>{bounds}</small>' if bounds else ''
    return f'<td class="{"best" if best else ""}">{percent(value)}{small}</td>'


def full_table(standings: Standings, one: Mapping[str, Any]) -> str:
    """Return every measure of every detector on a set, best AUROC first; empty columns drop."""
    set_name = one['name']
    names = standings.ranked_on(set_name)
    columns = []
    for key, (label, _) in MEASURES.items():
        values = {name: standings.measure(name, set_name, key) for name in names}
        if any(value is not None for value in values.values()):
            best = best_of(values, key)
            columns.append(
                (
                    label,
                    {name: _cell(standings, name, set_name, key, name in best) for name in names},
                )
            )
    for key, (part, label, _) in EXTRAS.items():
        extra = {
            name: finite((standings.results[name, set_name].get(part) or {}).get(key))
            for name in names
        }
        if any(value is not None for value in extra.values()):
            columns.append(
                (label, {name: f'<td>{percent(value)}</td>' for name, value in extra.items()})
            )
    head = ''.join(f'<th>{label.replace(", ", "<br>")}</th>' for label, _ in columns)
    rows = ''.join(
        f'<tr data-detector="{escape(name)}"><th class="name" scope="row">{escape(name)}'
        f'{flip_mark(standings, name, set_name)}</th>'
        f'{"".join(cells[name] for _, cells in columns)}</tr>'
        for name in names
    )
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr><th class="name">Detector</th>'
        f'{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def flip_mark(standings: Standings, detector: str, set_name: str) -> str:
    """Return a mark where a score looks sign-flipped."""
    row = standings.results.get((detector, set_name)) or {}
    return '<span class="flip">sign?</span>' if row.get('flipped') else ''


def detector_table(standings: Standings) -> str:
    """Return what every detector is, needs and costs, and why some could not be used."""
    rows = []
    for name, row in standings.detectors.items():
        skipped = (
            f'<br><span class="flip">left out: {escape(row["skipped"])}</span>'
            if row.get('skipped')
            else ''
        )
        rows.append(
            f'<tr data-detector="{escape(name)}">'
            f'<th class="name" scope="row">{breakable(name)}</th>'
            f'<td class="text">{escape(str(row["paper"]))}{skipped}</td>'
            f'<td class="text">{escape(str(row["inputs"]))}</td><td>{row["passes"]:d}</td>'
            f'<td class="text">{_yes(row["gradients"])}</td>'
            f'<td class="text">{_yes(row["exportable"])}</td>'
            f'<td class="text">{escape(", ".join(row["levels"]))}</td>'
            f'<td>{three_digits(row["fit_seconds"])}</td>'
            f'<td>{three_digits(row["ms"])}</td></tr>'
        )
    head = ''.join(
        f'<th class="{kind}">{text}</th>'
        for kind, text in (
            ('name', 'Detector'),
            ('text', 'Paper'),
            ('text', 'Reads'),
            ('', 'Passes'),
            ('text', 'Gradients'),
            ('text', 'Exportable'),
            ('text', 'Levels'),
            ('', 'Fit, s'),
            ('', 'ms per frame'),
        )
    )
    return (
        f'<div class="scroll"><table class="sortable detectors"><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _yes(value: bool) -> str:
    return 'yes' if value else 'no'


def protocol_table(standings: Standings) -> str:
    """Return how every set was judged: the positive class, what was pooled, how many frames."""
    rows = ''.join(
        f'<tr><th class="name" scope="row">{breakable(one["name"])}</th>'
        f'<td class="text">{escape(one["protocol"])}</td>'
        f'<td class="text">{escape(one["title"])}</td><td class="text">{escape(one["level"])}</td>'
        f'<td>{one["frames"]}</td><td>{one["normal_frames"]}</td></tr>'
        for sets in standings.groups.values()
        for one in sets
    )
    return (
        '<div class="scroll"><table class="protocol"><thead><tr><th class="name">Set</th>'
        '<th class="text">Protocol</th><th class="text">Title</th><th class="text">Level</th>'
        '<th>Frames</th><th>Normal frames</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )
