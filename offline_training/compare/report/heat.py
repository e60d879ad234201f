"""The large table of the report: all detectors on all sets."""

from __future__ import annotations

from collections.abc import Sequence

from offline_training.compare.report.standings import (
    Sets,
    Standings,
    best_of,
    group_title,
    headline,
)
from ros2_ood_monitor.pages.heat_table import Heat, HeatColumn, HeatTable
from ros2_ood_monitor.pages.numbers import percent, three_digits

WARNING = 'looks sign-flipped'


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
