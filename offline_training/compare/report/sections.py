"""The parts of the comparison report, as HTML sections."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import cv2

from offline_training.compare.report.figures import (
    cost_figure,
    histogram_figure,
    iou_bars,
    pr_figure,
    reliability_figure,
    roc_figure,
)
from offline_training.compare.report.formatting import breakable, finite, percent, three_digits
from offline_training.compare.report.panels import Panel
from offline_training.compare.report.standings import Standings, group_title
from offline_training.compare.report.tables import full_table, short_table

CLOSE = 0.02
"""A cheaper detector is worth naming when its mean AUROC is at most this much lower."""
KINDS = {'errors': ('correct', 'wrong or unknown')}
"""What is normal and what is an anomaly in a group, where it is not called so."""
OWN_BEST = 8
"""Colour number of a set's best detector where it is not among the best of the group."""
WIDEST = 640
"""Images are shrunk to this many columns."""
QUALITY = 82


def summary(standings: Standings) -> str:
    """Return a card per group: its best detector, at which cost, and a cheaper one close by."""
    cards = []
    for group, sets in standings.groups.items():
        order = standings.ranked(group)
        if not order:
            continue
        best = order[0]
        value = standings.mean(best, group, 'auroc')
        cheaper = _cheaper(standings, group, order)
        over = f'mean AUROC over {len(sets)} sets' if len(sets) > 1 else 'AUROC'
        cards.append(
            f'<div class="card"><h3>{escape(group_title(group))}</h3>'
            f'<p class="winner">{breakable(best)}</p>'
            f'<p><b class="big">{percent(value)}</b> % {over}<br>'
            f'{three_digits(standings.milliseconds(best))} ms per frame</p>{cheaper}</div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>{_flip_warning(standings)}'


def _cheaper(standings: Standings, group: str, order: Sequence[str]) -> str:
    best = order[0]
    value, cost = standings.mean(best, group, 'auroc'), standings.milliseconds(best)
    if value is None or cost is None:
        return ''
    close = {
        name: own
        for name in order[1:]
        if (mean := standings.mean(name, group, 'auroc')) is not None
        and value - mean <= CLOSE
        and (own := standings.milliseconds(name)) is not None
        and own < 0.9 * cost
    }
    if not close:
        return (
            f'<p class="faint">No detector within {100 * CLOSE:.0f} points is clearly cheaper.</p>'
        )
    name = min(close, key=lambda name: close[name])
    mean = standings.mean(name, group, 'auroc')
    return (
        f'<p class="faint">Cheaper: <b>{breakable(name)}</b>, {percent(mean)} % at '
        f'{three_digits(close[name])} ms</p>'
    )


def _flip_warning(standings: Standings) -> str:
    flipped = standings.flipped()
    if not flipped:
        return ''
    sets: dict[str, list[str]] = {}
    for detector, set_name in flipped:
        sets.setdefault(detector, []).append(set_name)
    items = ''.join(
        f'<li><b>{escape(detector)}</b> on {escape(", ".join(names))}</li>'
        for detector, names in sets.items()
    )
    return (
        '<div class="warning"><p><b>Scores that look sign-flipped.</b> They rank normal samples '
        'above anomalies (AUROC below 50 %). Either the sign is wrong or the detector takes this '
        f'kind of anomaly for something familiar. Nothing was turned.</p><ul>{items}</ul></div>'
    )


def cost(standings: Standings, hues: Mapping[str, Mapping[str, int]]) -> str:
    """Return quality against milliseconds per frame, a chart per group."""
    hollow = [name for name, row in standings.detectors.items() if not row['exportable']]
    times = {
        name: ms
        for name in standings.detectors
        if (ms := standings.milliseconds(name)) is not None
    }
    parts = []
    for group in standings.groups:
        quality = {
            name: mean
            for name in standings.ranked(group)
            if (mean := standings.mean(name, group, 'auroc')) is not None
        }
        figure = cost_figure(quality, times, hues[group], hollow)
        if figure:
            parts.append(
                f'<figure><figcaption>{escape(group_title(group))}</figcaption>{figure}</figure>'
            )
    return f'<div class="wide">{"".join(parts)}</div>' if parts else ''


def set_card(
    standings: Standings,
    one: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    hues: Mapping[str, int],
) -> str:
    """Return everything about one set: curves, the best detectors, histograms, reliability."""
    set_name = one['name']
    order = standings.ranked_on(set_name)
    kinds = KINDS.get(one['group'], ('normal', 'anomalous'))
    shown = dict(hues)
    if order and order[0] not in shown:
        shown = {order[0]: OWN_BEST, **shown}
    charts = ''
    if any(curves.get(name) for name in order):
        drawn = {name: curves[name] for name in order if curves.get(name)}
        areas, precisions = (
            {name: standings.measure(name, set_name, key) for name in drawn}
            for key in ('auroc', 'aupr_anomaly')
        )
        own = {name: hue for name, hue in shown.items() if name in drawn}
        roc = {name: curve['roc'] for name, curve in drawn.items() if curve.get('roc')}
        pr = {name: curve['pr'] for name, curve in drawn.items() if curve.get('pr')}
        charts = (
            f'<figure><figcaption>ROC, AUROC in %, positive = {kinds[1]}</figcaption>'
            f'{roc_figure(roc, areas, own)}</figure>'
            f'<figure><figcaption>PR, AP in %, positive = {kinds[1]}</figcaption>'
            f'{pr_figure(pr, precisions, own)}</figure>'
        )
    top = [name for name in order if name in shown]
    return (
        f'<div class="charts">{charts}<div>{short_table(standings, one, shown)}</div></div>'
        f'{_histograms(standings, set_name, curves, top, kinds)}'
        f'{_reliability(standings, set_name, curves, order)}'
        f'<details><summary>All {len(order)} detectors, every measure</summary>'
        f'{full_table(standings, one)}</details>'
    )


def _histograms(
    standings: Standings,
    set_name: str,
    curves: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    kinds: tuple[str, str],
) -> str:
    figures = ''.join(
        f'<figure><figcaption>{breakable(name)} '
        f'<span class="value">{percent(standings.measure(name, set_name, "auroc"))}</span>'
        f'</figcaption>{histogram_figure(curves[name]["histogram"])}</figure>'
        for name in names
        if (curves.get(name) or {}).get('histogram')
    )
    if not figures:
        return ''
    return (
        f'<h4>Scores <span class="legend"><i class="swatch normal"></i>{kinds[0]} '
        f'<i class="swatch anomalous"></i>{kinds[1]}; height is the square root of the share'
        f'</span></h4><div class="small-charts">{figures}</div>'
    )


def _reliability(
    standings: Standings,
    set_name: str,
    curves: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
) -> str:
    parts = []
    for name in names:
        diagram = (curves.get(name) or {}).get('reliability')
        if not diagram:
            continue
        calibration = standings.results[name, set_name].get('calibration') or {}
        parts.append(
            f'<figure><figcaption>{breakable(name)} <span class="value">ECE '
            f'{percent(calibration.get("ece"))}</span></figcaption>'
            f'{reliability_figure(diagram)}</figure>'
        )
    if not parts:
        return ''
    return (
        '<h4>Reliability <span class="legend">on the dashed line a confidence is the accuracy; '
        'below it the network is too sure</span></h4>'
        f'<div class="small-charts">{"".join(parts)}</div>'
    )


def segmentation(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return per-class IoU before and after each attack, on the same frames; '' without rows."""
    if not rows:
        return ''
    lines, parts = [], []
    for row in rows:
        clean, after, noise = row['clean'], finite(row['miou']), finite(row['psnr'])
        before = None if clean is None else finite(clean['miou'])
        change = after / before - 1 if before and after is not None else None
        lines.append(
            f'<tr><th class="name" scope="row">{escape(row["name"])}</th>'
            f'<td>{percent(after)}</td><td>{"" if clean is None else percent(before)}</td>'
            f'<td>{"" if clean is None else percent(change).replace("-", "−")}</td>'
            f'<td>{"" if noise is None else f"{noise:.1f}"}</td></tr>'
        )
        if clean is not None:
            parts.append(
                f'<figure><figcaption>{escape(row["name"])} <span class="value">mIoU '
                f'{percent(before)} → {percent(after)}</span></figcaption>'
                f'{iou_bars(clean["iou"], row["iou"])}</figure>'
            )
    table = (
        '<div class="scroll"><table class="short"><thead><tr><th class="name">Frames</th>'
        '<th>mIoU, %</th><th>same frames, clean, %</th><th>Change, %</th><th>PSNR, dB</th>'
        '</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div>'
    )
    return (
        '<p>Intersection over union per class: the pale bar is the same frames clean, the '
        f'coloured bar the disturbed ones.</p>{table}<div class="bars">{"".join(parts)}</div>'
    )


def panel_figures(panels: Sequence[Panel]) -> str:
    """Return rows of images, each with its label."""
    parts = []
    for panel in panels:
        shown = ''.join(
            f'<div><img alt="{escape(f"{panel.title} {label}".strip())}" src="{_data_uri(image)}" '
            f'width="{image.shape[1]}" height="{image.shape[0]}">'
            f'<span>{escape(label)}</span></div>'
            for label, image in panel.images
        )
        heading = f'<b>{escape(panel.title)}</b> {escape(panel.caption)}' if panel.title else ''
        parts.append(
            f'<figure class="panel"><figcaption>{heading}</figcaption>'
            f'<div class="row">{shown}</div></figure>'
        )
    return ''.join(parts)


def _data_uri(image: Any) -> str:
    """Return an RGB image as an embedded WebP file: a third of a JPEG's size on flat maps."""
    if image.shape[1] > WIDEST:
        rows = max(1, round(image.shape[0] * WIDEST / image.shape[1]))
        image = cv2.resize(image, (WIDEST, rows), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.webp', image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return 'data:image/webp;base64,' + base64.b64encode(data.tobytes()).decode('ascii')
