"""What the parts of the comparison report show, as values for their templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from offline_training.compare.report.figures import (
    cost_chart,
    histogram_chart,
    pr_chart,
    reliability_chart,
    roc_chart,
)
from offline_training.compare.report.standings import (
    MEASURES,
    Sets,
    Standings,
    best_of,
    group_title,
    headline,
)
from offline_training.compare.results import Curves, DetectorFacts, SetFacts
from ros2_ood_monitor.pages.charts import Chart
from ros2_ood_monitor.pages.heat_table import Heat, HeatColumn, HeatTable
from ros2_ood_monitor.pages.numbers import percent, three_digits

WARNING = 'looks sign-flipped'
CLOSE = 0.02
"""A cheaper detector is worth naming when its mean AUROC is at most this much lower."""
KINDS = {'errors': ('correct', 'wrong or unknown')}
"""What is normal and what is an anomaly in a group, where it is not called so."""
OWN_BEST = 8
"""Colour number of a set's best detector where it is not among the best of the group."""
EXTRAS = {
    'ece': ('calibration', 'ECE'),
    'ace': ('calibration', 'ACE'),
    'siou': ('components', 'sIoU'),
    'ppv': ('components', 'PPV'),
    'f1': ('components', 'mean F1'),
}
"""Columns besides the measures: where they stand in a result, and their label."""


class Rated(NamedTuple):
    """A detector with its mean AUROC over the sets of a group."""

    facts: DetectorFacts
    auroc: float | None


def heat_table(standings: Standings) -> HeatTable:
    """Return all detectors on all sets, coloured; AUROC, AP or FPR95 can be chosen."""
    measured = {detector for detector, _ in standings.results}
    names = sorted(
        (name for name in standings.detectors if name in measured),
        key=lambda name: _overall(standings, name),
    )
    flipped = standings.flipped()
    groups = {}
    for group, sets in standings.groups.items():
        columns = [
            HeatColumn(
                one.name,
                one.title,
                _cells(standings, names, [one]),
                {name: WARNING for name, set_name in flipped if set_name == one.name},
            )
            for one in sets
        ]
        if len(sets) > 1:
            columns.insert(0, HeatColumn('mean', '', _cells(standings, names, sets)))
        groups[group_title(group)] = columns
    notes = {name: three_digits(standings.detectors[name].ms) for name in names}
    return HeatTable('show', ('AUROC', 'AP', 'FPR95'), 'Detector', 'ms', notes, groups)


def _overall(standings: Standings, name: str) -> tuple[int, float]:
    """Order by the mean of the group means; those that lack a group follow."""
    means = [standings.mean(name, sets, 'auroc') for sets in standings.groups.values()]
    known = [mean for mean in means if mean is not None]
    return len(means) - len(known), -sum(known) / max(len(known), 1)


def _cells(standings: Standings, names: Sequence[str], sets: Sets) -> dict[str, list[Heat | None]]:
    cells: dict[str, list[Heat | None]] = {name: [] for name in names}
    for key in headline(sets[0].group):
        values = {name: standings.mean(name, sets, key) for name in names}
        best = best_of(values, key)
        for name, value in values.items():
            cells[name].append(None if value is None else _heat(key, value, name in best))
    return cells


def _heat(key: str, value: float, best: bool) -> Heat:
    """Return a coloured value; AUROC is spread at the upper end."""
    if key == 'auroc':
        strength = 100 * abs(2 * value - 1) ** 1.7
        return Heat(percent(value), strength, best, low=value < 0.5)
    return Heat(percent(value), 100 * (1 - value if key.startswith('fpr95') else value), best)


def winners(standings: Standings) -> list[dict[str, Any]]:
    """Return the best detector of every group and, if nearly as good, a clearly cheaper one."""
    found = []
    for group, sets in standings.groups.items():
        rated = [
            Rated(standings.detectors[name], standings.mean(name, sets, 'auroc'))
            for name in standings.ranked(sets)
        ]
        if rated:
            cheaper = _cheaper(rated[0], rated[1:])
            found.append(
                {
                    'heading': group_title(group),
                    'sets': len(sets),
                    'best': rated[0],
                    'cheaper': cheaper,
                }
            )
    return found


def _cheaper(best: Rated, others: Iterable[Rated]) -> Rated | None:
    if best.auroc is None or best.facts.ms is None:
        return None
    close = {
        other: other.facts.ms
        for other in others
        if other.auroc is not None
        and best.auroc - other.auroc <= CLOSE
        and other.facts.ms is not None
        and other.facts.ms < 0.9 * best.facts.ms
    }
    return min(close, key=close.__getitem__, default=None)


def cost_charts(standings: Standings, hues: Mapping[str, Mapping[str, int]]) -> dict[str, Chart]:
    """Return quality against milliseconds per frame by the heading of a group."""
    hollow = {name for name, facts in standings.detectors.items() if not facts.exportable}
    times = {name: facts.ms for name, facts in standings.detectors.items() if facts.ms is not None}
    charts = {}
    for group, sets in standings.groups.items():
        means = {name: standings.mean(name, sets, 'auroc') for name in standings.ranked(sets)}
        quality = {name: mean for name, mean in means.items() if mean is not None}
        if chart := cost_chart(quality, times, hues[group], hollow):
            charts[group_title(group)] = chart
    return charts


def set_card(
    standings: Standings,
    facts: SetFacts,
    anchor: str,
    curves: Mapping[str, Curves],
    hues: Mapping[str, int],
) -> dict[str, Any]:
    """Return curves, the best detectors, histograms, reliability and all measures of a set.

    `kinds` are the names of normal and anomalous samples, `short` and `full` the tables of the
    coloured and of all detectors, best AUROC first.
    """
    order = standings.ranked([facts])
    kinds = KINDS.get(facts.group, ('normal', 'anomalous'))
    shown = dict(hues)
    if order and order[0] not in shown:
        shown = {order[0]: OWN_BEST, **shown}
    drawn = {name: curves[name] for name in order if name in curves}
    areas, precisions = (
        {name: standings.measure(name, facts, key) for name in drawn}
        for key in ('auroc', 'aupr_anomaly')
    )
    own = {name: hue for name, hue in shown.items() if name in drawn}
    top = [name for name in order if name in shown]
    charts = {
        'ROC, AUROC in %': roc_chart(drawn, areas, own),
        'PR, AP in %': pr_chart(drawn, precisions, own),
    }
    return {
        'anchor': anchor,
        'facts': facts,
        'kinds': kinds,
        'curves': charts if drawn else {},
        'hues': shown,
        'short': _measures(standings, facts, top, headline(facts.group), ()),
        'histograms': [
            {'name': name, 'value': areas[name], 'chart': histogram_chart(one.histogram)}
            for name, one in drawn.items()
            if name in top
        ],
        'reliability': [
            {
                'name': name,
                'value': (standings.results[name, facts.name].calibration or {}).get('ece'),
                'chart': reliability_chart(one.reliability),
            }
            for name, one in drawn.items()
            if one.reliability
        ],
        'full': _measures(standings, facts, order, MEASURES, EXTRAS),
    }


def _measures(
    standings: Standings,
    facts: SetFacts,
    names: Sequence[str],
    keys: Iterable[str],
    extras: Iterable[str],
) -> dict[str, Any]:
    """Return measures of some detectors of a set, the best of all bold; empty columns drop.

    `columns` are cells by label and detector, `flipped` tells of every row whether its score looks
    sign-flipped.
    """
    results = {name: standings.results[name, facts.name] for name in names}
    columns = {}
    for key in keys:
        best = best_of(
            {name: standings.measure(name, facts, key) for name in standings.detectors}, key
        )
        columns[MEASURES[key][0]] = {
            name: {
                'value': one.measures.get(key),
                'interval': one.intervals.get(key),
                'best': name in best,
            }
            for name, one in results.items()
        }
    for key in extras:
        part, label = EXTRAS[key]
        columns[label] = {
            name: {'value': (getattr(one, part) or {}).get(key), 'interval': None, 'best': False}
            for name, one in results.items()
        }
    return {
        'columns': {
            label: cells
            for label, cells in columns.items()
            if any(cell['value'] is not None for cell in cells.values())
        },
        'flipped': {name: one.flipped for name, one in results.items()},
    }


def flipped_sets(standings: Standings) -> dict[str, list[str]]:
    """Return by detector the sets on which its score looks sign-flipped."""
    sets: dict[str, list[str]] = {}
    for detector, set_name in standings.flipped():
        sets.setdefault(detector, []).append(set_name)
    return sets
