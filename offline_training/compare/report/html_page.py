"""The comparison as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from offline_training.compare.report.standings import Sets, Standings, group_title
from offline_training.compare.report.views import (
    CLOSE,
    cost_charts,
    flipped_sets,
    heat_table,
    set_card,
    winners,
)
from offline_training.compare.results import Comparison, Curves
from ros2_ood_monitor.pages.builder import Page, Section, render
from ros2_ood_monitor.pages.images import ImageRow
from ros2_ood_monitor.pages.numbers import three_digits

PANELS = {
    'attacks': ('Attacks', 'One frame, perturbed and attacked, and how the network segments it.'),
    'best': ('Best frames', 'Where the maps show the unknown most clearly.'),
    'worst': (
        'Worst frames',
        'Where the maps fail; look at these before you trust a number above.',
    ),
}


@dataclass(frozen=True, eq=False)
class Panel(ImageRow):
    """A frame with its truth and maps, or a frame and its attacks."""

    kind: Literal['attacks', 'best', 'worst']
    """The section it stands in."""


def report_html(
    comparison: Comparison,
    curves: Mapping[str, Mapping[str, Curves]],
    panels: Sequence[Panel],
) -> str:
    """Return the report as one page.

    Args:
        comparison: all results.
        curves: what is drawn, by set and detector.
        panels: rows of images, in the order they are shown.
    """
    standings = Standings(comparison)
    network = comparison.network
    sets = list(chain.from_iterable(standings.groups.values()))
    page = Page(
        title=f'Anomaly detectors: {comparison.title}',
        over='Comparison of anomaly detectors',
        heading=comparison.title,
        lead=f'{len(standings.detectors)} detectors on {len(sets)} sets.',
        facts={
            'Watched network': f'{network.architecture}, {len(network.classes)} classes',
            'Weights': network.weights,
            'Frames': ' × '.join(map(str, network.size)),
            'Network alone': f'{three_digits(network.ms)} ms per frame',
            'Device': network.device,
            'Made': f'{comparison.created}, version {comparison.version}',
        },
        sections=_sections(standings, sets, curves, panels),
    )
    return render(page, __package__)


def _sections(
    standings: Standings,
    sets: Sets,
    curves: Mapping[str, Mapping[str, Curves]],
    panels: Sequence[Panel],
) -> list[Section]:
    """Return the sections that have content, in order."""
    hues, comparison = standings.hues(), standings.comparison
    found = []
    if sets:
        found.append(
            Section(
                'summary',
                'Summary',
                'summary.html',
                {
                    'winners': winners(standings),
                    'close': CLOSE,
                    'flipped': flipped_sets(standings),
                },
            )
        )
        if charts := cost_charts(standings, hues):
            found.append(Section('cost', 'Quality against cost', 'cost.html', charts))
        found.append(
            Section('table', 'All detectors on all sets', 'all.html', heat_table(standings))
        )
    anchors = {one.name: f'set-{index}' for index, one in enumerate(sets)}
    for index, (group, own) in enumerate(standings.groups.items()):
        cards = [
            set_card(standings, one, anchors[one.name], curves.get(one.name, {}), hues[group])
            for one in own
        ]
        parts = {anchors[one.name]: one.name for one in own}
        found.append(Section(f'group-{index}', group_title(group), 'sets.html', cards, parts))
    if comparison.segmentation:
        found.append(
            Section(
                'segmentation',
                'Segmentation under attack',
                'segmentation.html',
                comparison.segmentation,
            )
        )
    for kind, (heading, text) in PANELS.items():
        if rows := [panel for panel in panels if panel.kind == kind]:
            found.append(Section(kind, heading, 'images.html', {'text': text, 'rows': rows}))
    found.append(Section('detectors', 'Detectors', 'detectors.html', comparison.detectors))
    found.append(Section('protocol', 'Protocol', 'protocol.html', sets))
    return found
