"""Who did how well: look-ups, means and orders over a comparison table."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from offline_training.compare.report.formatting import finite, percent

GROUPS = {
    'pixel': 'Unknown objects, per pixel',
    'errors': 'Errors and unknown objects, per pixel',
    'objects': 'Unknown objects, per frame',
    'natural': 'Weather, light, lens and sensor, per frame',
    'attack': 'Attacked frames',
}
"""Headings of the groups of sets, in the order of the report."""

MEASURES = {
    'auroc': ('AUROC', True),
    'aupr_anomaly': ('AP, anomaly', True),
    'fpr95_anomaly': ('FPR95, anomaly', False),
    'tnr95_anomaly': ('TNR95, anomaly', True),
    'aupr_success': ('AP, success', True),
    'fpr95_success': ('FPR95, success', False),
    'tnr95_success': ('TNR95, success', True),
    'detection_accuracy': ('Detection accuracy', True),
    'auout': ('AUOUT', True),
    'auin': ('AUIN', True),
}
"""Label of each measure, and whether more is better."""

COLOURED = 6
"""Detectors of a group that are drawn in colour."""
HUES = 8
"""Colours there are."""


class Standings:
    """The table of a comparison, as reports ask for it.

    `table` is what `table.json` holds. Missing, NaN and infinite measures count as not measured.
    """

    def __init__(self, table: Mapping[str, Any]):
        self.table = table
        self.detectors: dict[str, Mapping[str, Any]] = {
            row['name']: row for row in table['detectors']
        }
        self.results: dict[tuple[str, str], Mapping[str, Any]] = {
            (row['detector'], row['set']): row for row in table['results']
        }
        self.groups: dict[str, list[Mapping[str, Any]]] = {}
        """Sets with at least one result, by group."""
        measured = {row['set'] for row in table['results']}
        present = [one['group'] for one in table['sets'] if one['name'] in measured]
        for group in [*GROUPS, *present]:
            if group in present:
                self.groups[group] = [
                    one
                    for one in table['sets']
                    if one['group'] == group and one['name'] in measured
                ]

    def measure(self, detector: str, set_name: str, measure: str) -> float | None:
        """Return a measure in 0..1, or None."""
        row = self.results.get((detector, set_name))
        return finite(row['measures'].get(measure)) if row else None

    def interval(self, detector: str, set_name: str, measure: str) -> Any:
        """Return [low, high] in 0..1, or None."""
        row = self.results.get((detector, set_name))
        return row['intervals'].get(measure) if row else None

    def mean(self, detector: str, group: str, measure: str) -> float | None:
        """Return the mean over all sets of a group; None unless every set was measured.

        A mean over the sets that a detector happens to have would reward leaving out hard ones.
        """
        values = [self.measure(detector, one['name'], measure) for one in self.groups[group]]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None

    def milliseconds(self, detector: str) -> float | None:
        """Return milliseconds per frame, watched network included."""
        return finite(self.detectors[detector]['ms'])

    def ranked(self, group: str) -> list[str]:
        """Return the detectors measured in a group, best mean AUROC first.

        Those without a result on some set follow after all others.
        """

        def order(name: str) -> tuple[int, float]:
            values = [self.measure(name, one['name'], 'auroc') for one in self.groups[group]]
            known = [value for value in values if value is not None]
            return len(values) - len(known), -fmean(known)

        names = {one['name'] for one in self.groups[group]}
        return sorted(
            (
                name
                for name in self.detectors
                if any(self.measure(name, one, 'auroc') is not None for one in names)
            ),
            key=order,
        )

    def ranked_on(self, set_name: str) -> list[str]:
        """Return the detectors measured on a set, highest AUROC first."""
        values = {name: self.measure(name, set_name, 'auroc') for name in self.detectors}
        known = {name: value for name, value in values.items() if value is not None}
        return sorted(known, key=lambda name: -known[name])

    def flipped(self) -> list[tuple[str, str]]:
        """Return (detector, set) of every score that looks sign-flipped."""
        return [key for key, row in self.results.items() if row.get('flipped')]

    def hues(self) -> dict[str, dict[str, int]]:
        """Return per group the colour numbers of its best detectors.

        A detector keeps its colour from group to group unless another one of the group has it.
        """
        kept: dict[str, int] = {}
        chosen = {}
        for group in self.groups:
            best = self.ranked(group)[:COLOURED]
            hues: dict[str, int] = {}
            for name in sorted(best, key=lambda name: name not in kept):
                free = [hue for hue in range(HUES) if hue not in hues.values()]
                unused = [hue for hue in free if hue not in kept.values()]
                wished = kept.get(name)
                hues[name] = wished if wished in free else (unused or free)[0]
                kept.setdefault(name, hues[name])
            chosen[group] = {name: hues[name] for name in best}
        return chosen


def group_title(group: str) -> str:
    """Return the heading of a group of sets; an unknown group is its own heading."""
    return GROUPS.get(group, group)


def headline(group: str) -> tuple[str, str, str]:
    """Return the three measures a group is reported by: AUROC, AP and FPR95.

    Failure detection counts correct pixels as positive (ObsNet, Besnier et al. 2021), everything
    else counts anomalies as positive.
    """
    positive = 'success' if group == 'errors' else 'anomaly'
    return 'auroc', f'aupr_{positive}', f'fpr95_{positive}'


def best_of(values: Mapping[str, float | None], measure: str) -> set[str]:
    """Return the names with the best value, as it is printed: equal tenths of a percent tie."""
    known = {name: float(percent(value)) for name, value in values.items() if value is not None}
    if not known:
        return set()
    best = (max if MEASURES[measure][1] else min)(known.values())
    return {name for name, value in known.items() if value == best}
