"""What the parts of the comparison report show, as values for their templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from offline_training.compare.report.figures import (
    cost_chart,
    histogram_chart,
    pr_chart,
    reliability_chart,
    roc_chart,
)
from offline_training.compare.report.standings import (
    MEASURES,
    Standings,
    best_of,
    group_title,
    headline,
)
from offline_training.compare.results import Curves, DetectorFacts, Interval, SetFacts
from ros2_ood_monitor.pages.charts import Chart

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


class Winner(NamedTuple):
    """The best detector of a group, and a clearly cheaper one that is nearly as good."""

    heading: str
    sets: int
    best: Rated
    cheaper: Rated | None


class Cell(NamedTuple):
    """A measure in 0..1."""

    value: float | None
    interval: Interval | None = None
    best: bool = False


class MeasureTable(NamedTuple):
    """Detectors of a set, best AUROC first."""

    columns: Mapping[str, Mapping[str, Cell]]
    """By label and detector."""
    flipped: Mapping[str, bool]
    """By detector; in the order of the rows."""


class NamedChart(NamedTuple):
    """A chart of one detector and the measure that stands beside its name."""

    name: str
    value: float | None
    chart: Chart


class SetCard(NamedTuple):
    """Everything about one set."""

    anchor: str
    facts: SetFacts
    kinds: tuple[str, str]
    """What is normal here, and what an anomaly."""
    curves: Mapping[str, Chart]
    """By name and unit."""
    hues: Mapping[str, int]
    short: MeasureTable
    histograms: Sequence[NamedChart]
    reliability: Sequence[NamedChart]
    full: MeasureTable


def winners(standings: Standings) -> list[Winner]:
    """Return a winner per group that has one."""
    found = []
    for group, sets in standings.groups.items():
        rated = [
            Rated(standings.detectors[name], standings.mean(name, sets, 'auroc'))
            for name in standings.ranked(sets)
        ]
        if rated:
            cheaper = _cheaper(rated[0], rated[1:])
            found.append(Winner(group_title(group), len(sets), rated[0], cheaper))
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
) -> SetCard:
    """Return curves, the best detectors, histograms, reliability and all measures of a set."""
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
    return SetCard(
        anchor,
        facts,
        kinds,
        charts if drawn else {},
        shown,
        _measures(standings, facts, top, headline(facts.group), ()),
        [
            NamedChart(name, areas[name], histogram_chart(one.histogram))
            for name, one in drawn.items()
            if name in top
        ],
        [
            NamedChart(
                name,
                (standings.results[name, facts.name].calibration or {}).get('ece'),
                reliability_chart(one.reliability),
            )
            for name, one in drawn.items()
            if one.reliability
        ],
        _measures(standings, facts, order, MEASURES, EXTRAS),
    )


def _measures(
    standings: Standings,
    facts: SetFacts,
    names: Sequence[str],
    keys: Iterable[str],
    extras: Iterable[str],
) -> MeasureTable:
    """Return measures of some detectors of a set, the best of all bold; empty columns drop."""
    results = {name: standings.results[name, facts.name] for name in names}
    columns = {}
    for key in keys:
        best = best_of(
            {name: standings.measure(name, facts, key) for name in standings.detectors}, key
        )
        columns[MEASURES[key][0]] = {
            name: Cell(one.measures.get(key), one.intervals.get(key), name in best)
            for name, one in results.items()
        }
    for key in extras:
        part, label = EXTRAS[key]
        columns[label] = {
            name: Cell((getattr(one, part) or {}).get(key)) for name, one in results.items()
        }
    return MeasureTable(
        {
            label: cells
            for label, cells in columns.items()
            if any(cell.value is not None for cell in cells.values())
        },
        {name: one.flipped for name, one in results.items()},
    )


def flipped_sets(standings: Standings) -> dict[str, list[str]]:
    """Return by detector the sets on which its score looks sign-flipped."""
    sets: dict[str, list[str]] = {}
    for detector, set_name in standings.flipped():
        sets.setdefault(detector, []).append(set_name)
    return sets
