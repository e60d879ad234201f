"""The comparison as one HTML file that needs nothing else: no server and no network.

The few lines of script only sort tables and mark a detector in all charts. A content security
policy in the page forbids everything that is not inside it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from offline_training.compare.report.formatting import three_digits
from offline_training.compare.report.panels import Panel
from offline_training.compare.report.sections import (
    cost,
    panel_figures,
    segmentation,
    set_card,
    summary,
)
from offline_training.compare.report.standings import Standings, group_title
from offline_training.compare.report.tables import detector_table, heat_table, protocol_table
from offline_training.learning.store import write_text

PANELS = {
    'attacks': ('Attacks', 'One frame, perturbed and attacked, and what the network sees.'),
    'best': ('Best frames', 'Where the maps show the unknown most clearly.'),
    'worst': ('Worst frames', 'Where the maps fail: read these before trusting a number above.'),
}
MEANINGS = """
<p>A higher score always means more anomalous. <b>AUROC</b> is the chance that an anomaly scores
above a normal sample. <b>AP</b> is average precision (a step integral). <b>FPR95</b> is the false
positive rate where 95 % of the positives are found. The positive class is named with each
measure: <b>anomaly</b> counts anomalous samples as positive, <b>success</b> counts normal ones
(for segmentation errors: correct pixels). Swapping it can move FPR95 by more than fifteen points.
ROC and precision-recall curves always take anomaly as positive. Small grey numbers are 95 %
bootstrap intervals over frames. All measures are in percent.</p>
"""


def write_report(
    path: Path,
    table: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    panels: Sequence[Panel],
) -> None:
    """Write the report to `path`, atomically.

    Args:
        path: the HTML file.
        table: what `table.json` holds; measures in 0..1, missing ones None.
        curves: per set and detector `roc`, `pr` (points, positive = anomaly), `histogram` and
            `reliability`.
        panels: rows of images, in the order they are shown.
    """
    write_text(path, report_html(table, curves, panels))


def report_html(
    table: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    panels: Sequence[Panel],
) -> str:
    """Return the page that `write_report` writes."""
    standings = Standings(table)
    sections = _sections(standings, curves, panels)
    style, script = (
        files(__package__).joinpath(name).read_text(encoding='utf-8')
        for name in ('page.css', 'page.js')
    )
    digest = base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')
    title = escape(f'Detectors of the unknown: {table["title"]}')
    body = ''.join(
        f'<section id="{anchor}"><h2>{escape(heading)}</h2>{content}</section>'
        for anchor, heading, content, _ in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'\">"
        f'<title>{title}</title><style>{style}</style></head><body>'
        f'<nav aria-label="Contents">{_contents(sections)}</nav>'
        f'<main><header>{_header(standings)}</header>{body}</main>'
        f'<script>{script}</script></body></html>\n'
    )


Section = tuple[str, str, str, list[tuple[str, str]]]
"""Anchor, heading, content, and the anchors and headings of its parts."""


def _sections(
    standings: Standings, curves: Mapping[str, Mapping[str, Any]], panels: Sequence[Panel]
) -> list[Section]:
    """Return the sections that have content, in order."""
    hues = standings.hues()
    found: list[Section] = []
    if standings.groups:
        found.append(('summary', 'Summary', summary(standings), []))
        found.append(('cost', 'Quality against cost', _cost(standings, hues), []))
        found.append(
            (
                'table',
                'All detectors on all sets',
                '<p>Bold is the best of a column. AUROC below 50 % is orange, with ⇅ where the '
                'score looks sign-flipped. Click a column to sort by it, a detector to mark it '
                'in every chart.</p>' + heat_table(standings),
                [],
            )
        )
    anchors = {one['name']: f'set-{index}' for index, one in enumerate(standings.table['sets'])}
    for index, (group, sets) in enumerate(standings.groups.items()):
        cards = ''.join(
            f'<article id="{anchors[one["name"]]}"><h3>{escape(one["title"])} '
            f'<code>{escape(one["name"])}</code></h3><p class="faint">{escape(one["protocol"])} '
            f'({_count(one)})</p>'
            f'{set_card(standings, one, curves.get(one["name"], {}), hues[group])}</article>'
            for one in sets
        )
        parts = [(anchors[one['name']], one['name']) for one in sets]
        found.append((f'group-{index}', group_title(group), cards, parts))
    found.append(
        (
            'segmentation',
            'Segmentation under attack',
            segmentation(standings.table['segmentation']),
            [],
        )
    )
    for kind, (heading, text) in PANELS.items():
        rows = panel_figures([panel for panel in panels if panel.kind == kind])
        found.append((kind, heading, rows and f'<p>{text}</p>{rows}', []))
    found.append(('detectors', 'Detectors', detector_table(standings), []))
    found.append(('protocol', 'Protocol', MEANINGS + protocol_table(standings), []))
    return [section for section in found if section[2]]


def _cost(standings: Standings, hues: Mapping[str, Mapping[str, int]]) -> str:
    charts = cost(standings, hues)
    return charts and (
        '<p>Up and left is better; the dotted line joins the detectors that no other one beats in '
        'both. A ring cannot be exported to an engine. Milliseconds include the watched network. '
        'Both axes are logarithmic: equal steps up halve what is missing to 100 %.</p>' + charts
    )


def _count(one: Mapping[str, Any]) -> str:
    frames = f'{one["frames"]} frames'
    return f'{frames}, {one["normal_frames"]} normal frames' if one['normal_frames'] else frames


def _contents(sections: Sequence[Section]) -> str:
    items = []
    for anchor, heading, _, parts in sections:
        inner = ''.join(f'<li><a href="#{part}">{escape(text)}</a></li>' for part, text in parts)
        items.append(
            f'<li><a href="#{anchor}">{escape(heading)}</a>'
            f'{f"<ul>{inner}</ul>" if inner else ""}</li>'
        )
    return f'<ul>{"".join(items)}</ul>'


def _header(standings: Standings) -> str:
    table = standings.table
    network = table['network']
    rows, columns = network['size'][1], network['size'][0]
    counts = (
        f'{len(standings.detectors)} detectors on {sum(map(len, standings.groups.values()))} sets'
    )
    facts = {
        'Watched network': f'{network["architecture"]}, {len(network["classes"])} classes',
        'Weights': network['weights'],
        'Frames': f'{columns} × {rows}',
        'Network alone': f'{three_digits(network["ms"])} ms per frame',
        'Device': network['device'],
        'Made': f'{table["created"]}, version {table["version"]}',
    }
    items = ''.join(
        f'<div><dt>{name}</dt><dd>{escape(str(fact))}</dd></div>' for name, fact in facts.items()
    )
    return (
        f'<p class="over">Detectors of the unknown, compared</p><h1>{escape(table["title"])}</h1>'
        f'<p class="lead">{counts}.</p><dl>{items}</dl>'
    )
