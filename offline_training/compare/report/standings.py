"""Who did how well: means and orders over the results of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from offline_training.compare.results import Comparison, SetFacts

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
    'called': ('Called at 1 % of val', True),
    'called_normal': ('Normal called', False),
}
"""Label of each measure, and whether more is better."""

COLOURED = 6
"""Detectors of a group that are drawn in colour."""
HUES = 8
"""Number of colours."""

Sets = Sequence[SetFacts]


class Standings:
    """The results of a comparison, as reports ask for them."""

    def __init__(self, comparison: Comparison):
        self.comparison = comparison
        self.detectors = {one.name: one for one in comparison.detectors}
        self.results = {(one.detector, one.set_name): one for one in comparison.results}
        measured = {one.set_name for one in comparison.results}
        sets = [one for one in comparison.sets if one.name in measured]
        present = {one.group for one in sets}
        order = dict.fromkeys([*GROUPS, *(one.group for one in sets)])
        self.groups: dict[str, Sets] = {
            group: [one for one in sets if one.group == group]
            for group in order
            if group in present
        }
        """Sets with at least one result, by group."""

    def measure(self, detector: str, one: SetFacts, measure: str) -> float | None:
        """Return a measure in 0..1 on a set."""
        result = self.results.get((detector, one.name))
        return result.measures.get(measure) if result else None

    def mean(self, detector: str, sets: Sets, measure: str) -> float | None:
        """Return the mean over sets; None unless every set was measured.

        A mean over the sets that a detector happens to have would reward leaving out hard ones.
        """
        known = self._known(detector, sets, measure)
        return fmean(known) if len(known) == len(sets) else None

    def ranked(self, sets: Sets) -> list[str]:
        """Return the detectors measured on any of the sets, best mean AUROC first.

        Those without a result on some set follow after all others.
        """
        known = {name: self._known(name, sets, 'auroc') for name in self.detectors}
        return sorted(
            (name for name in known if known[name]),
            key=lambda name: (len(sets) - len(known[name]), -fmean(known[name])),
        )

    def flipped(self) -> list[tuple[str, str]]:
        """Return (detector, set) of every score that looks sign-flipped."""
        return [key for key, result in self.results.items() if result.flipped]

    def hues(self) -> dict[str, dict[str, int]]:
        """Return per group the colour numbers of its best detectors.

        A detector keeps its colour from group to group unless another one of the group has it.
        """
        kept: dict[str, int] = {}
        chosen = {}
        for group, sets in self.groups.items():
            best = self.ranked(sets)[:COLOURED]
            hues: dict[str, int] = {}
            for name in sorted(best, key=lambda name: name not in kept):
                free = [hue for hue in range(HUES) if hue not in hues.values()]
                unused = [hue for hue in free if hue not in kept.values()]
                wished = kept.get(name)
                hues[name] = wished if wished in free else (unused or free)[0]
                kept.setdefault(name, hues[name])
            chosen[group] = {name: hues[name] for name in best}
        return chosen

    def _known(self, detector: str, sets: Sets, measure: str) -> list[float]:
        values = [self.measure(detector, one, measure) for one in sets]
        return [value for value in values if value is not None]


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
    known = {name: round(100 * value, 1) for name, value in values.items() if value is not None}
    best = (max if MEASURES[measure][1] else min)(known.values(), default=None)
    return {name for name, value in known.items() if value == best}
