"""The charts of the comparison report, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Literal

from offline_training.compare.report.axes import Axes, log_ticks, number
from offline_training.compare.report.formatting import finite, percent, three_digits

Curve = Sequence[Sequence[float]]
SHARES = [(share / 100, str(share)) for share in range(0, 101, 20)]
Corner = Literal['lower left', 'lower right', 'upper right']
QUALITY_TICKS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
PERFECT = 0.0005
"""What is missing to 1 counts no less: the axis would have no end."""
LETTER = 6.5
"""Width of an average letter of a label, in units of the view box."""


def roc_figure(
    curves: Mapping[str, Curve], areas: Mapping[str, float | None], hues: Mapping[str, int]
) -> str:
    """Return ROC curves ((FPR, TPR) points, positive = anomaly); `hues` colours and labels some.

    Detectors without a hue are thin and grey. `areas` are AUROC in 0..1.
    """
    axes = Axes((0, 1), (0, 1), 420, 380)
    diagonal = f'<path class="chance" d="{axes.path([(0, 0), (1, 1)])}"/>'
    return axes.svg(
        diagonal + _curves(axes, curves, hues) + _key(axes, areas, hues, 'lower right'),
        'ROC curves',
        SHARES,
        SHARES,
        'False positive rate, %',
        'True positive rate, %',
    )


def pr_figure(
    curves: Mapping[str, Curve], precisions: Mapping[str, float | None], hues: Mapping[str, int]
) -> str:
    """Return precision-recall curves ((recall, precision) points, positive = anomaly).

    `precisions` are average precisions in 0..1. The key stands where the fewest curves are.
    """
    axes = Axes((0, 1), (0, 1), 420, 380)
    known = [value for name in hues if (value := precisions.get(name)) is not None]
    strong = bool(known) and sum(known) / len(known) > 0.5
    corner: Corner = 'lower left' if strong else 'upper right'
    return axes.svg(
        _curves(axes, curves, hues) + _key(axes, precisions, hues, corner),
        'Precision-recall curves',
        SHARES,
        SHARES,
        'Recall, %',
        'Precision, %',
    )


def _drawable(points: Any) -> list[tuple[float, float]]:
    pairs = [(finite(x), finite(y)) for x, y in points or []]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _curves(axes: Axes, curves: Mapping[str, Curve], hues: Mapping[str, int]) -> str:
    """Return grey curves first, so that the coloured ones lie on top, the best uppermost."""
    parts = []
    for name in [*(name for name in curves if name not in hues), *reversed(list(hues))]:
        points = _drawable(curves.get(name))
        if len(points) > 1:
            kind = f'curve hue{hues[name]}' if name in hues else 'curve rest'
            parts.append(
                f'<path class="{kind}" data-detector="{escape(name)}" d="{axes.path(points)}">'
                f'<title>{escape(name)}</title></path>'
            )
    return ''.join(parts)


def _key(
    axes: Axes, values: Mapping[str, float | None], hues: Mapping[str, int], corner: Corner
) -> str:
    """Return names and values in the colours of their curves, best first, where there is room."""
    known = {name: value for name in hues if (value := values.get(name)) is not None}
    names = sorted(known, key=lambda name: -known[name])
    left, top, right, bottom = axes.box
    first = top + 20 if corner == 'upper right' else bottom - 14 - 18 * (len(names) - 1)
    x, side = (left + 12, 'start') if corner == 'lower left' else (right - 10, 'end')
    return ''.join(
        f'<text class="key {side} ink{hues[name]}" data-detector="{escape(name)}" x="{number(x)}" '
        f'y="{number(first + 18 * row)}">{escape(name)} '
        f'<tspan class="value">{percent(known[name])}</tspan></text>'
        for row, name in enumerate(names)
    )


def histogram_figure(histogram: Mapping[str, Sequence[float]]) -> str:
    """Return the scores of normal and anomalous samples; heights are square roots of shares.

    Most scores pile up in few bins: with plain shares the tail, where mistakes are made, would
    not be seen.
    """
    edges = [finite(edge) or 0.0 for edge in histogram['edges']]
    heights = {
        kind: [max(finite(share) or 0.0, 0.0) ** 0.5 for share in histogram[kind]]
        for kind in ('normal', 'anomalous')
    }
    if len(edges) < 2 or edges[-1] <= edges[0]:
        return ''
    peak = max(max(values, default=0) for values in heights.values()) or 1.0
    axes = Axes((edges[0], edges[-1]), (0, 1.05 * peak), 220, 130, (4, 8, 20, 8))
    parts = []
    for kind, values in heights.items():
        outline = [(edges[0], 0.0)]
        for height, left, right in zip(values, edges, edges[1:], strict=False):
            outline += [(left, height), (right, height)]
        outline.append((edges[-1], 0.0))
        parts.append(f'<path class="{kind}" d="{axes.path(outline)}"/>')
    left, _, right, bottom = axes.box
    parts.append(f'<path class="base" d="M{number(left)} {number(bottom)}H{number(right)}"/>')
    for edge, place, side in ((edges[0], left, 'start'), (edges[-1], right, 'end')):
        parts.append(
            f'<text class="tick {side}" x="{number(place)}" y="{number(bottom + 15)}">'
            f'{edge:.3g}</text>'
        )
    return axes.svg(''.join(parts), 'Histogram of scores', [], [])


def reliability_figure(reliability: Mapping[str, Sequence[float | None]]) -> str:
    """Return accuracy against confidence; the area of a dot is its bin's share of samples."""
    axes = Axes((0, 1), (0, 1), 220, 200, (8, 10, 38, 48))
    rows = zip(
        reliability['confidence'], reliability['accuracy'], reliability['samples'], strict=False
    )
    known = [
        (x, y, finite(samples) or 0.0)
        for confidence, accuracy, samples in rows
        if (x := finite(confidence)) is not None and (y := finite(accuracy)) is not None
    ]
    most = max((samples for _, _, samples in known), default=0.0) or 1.0
    parts = [f'<path class="chance" d="{axes.path([(0, 0), (1, 1)])}"/>']
    if len(known) > 1:
        parts.append(f'<path class="curve hue0" d="{axes.path([row[:2] for row in known])}"/>')
    for x, y, samples in known:
        across, up = axes.at(x, y)
        radius = 2 + 6 * (samples / most) ** 0.5
        parts.append(
            f'<circle class="fill0" cx="{number(across)}" cy="{number(up)}" r="{number(radius)}">'
            f'<title>confidence {percent(x)} %, accuracy {percent(y)} %</title></circle>'
        )
    ticks = [(0.0, '0'), (0.5, '50'), (1.0, '100')]
    return axes.svg(
        ''.join(parts), 'Reliability diagram', ticks, ticks, 'Confidence, %', 'Accuracy, %'
    )


def cost_figure(
    quality: Mapping[str, float],
    milliseconds: Mapping[str, float],
    hues: Mapping[str, int],
    hollow: Iterable[str] = (),
) -> str:
    """Return quality (0..1) against milliseconds per frame, a dot per detector.

    Both axes are logarithmic, the quality's in what is missing to 1: the best lie close together.
    A line joins the detectors that no other one beats in both. Names in `hollow` get a ring.
    """
    names = [name for name in quality if finite(milliseconds.get(name)) and milliseconds[name] > 0]
    if not names:
        return ''
    fast, slow = (choose(milliseconds[name] for name in names) for choose in (min, max))
    heights = {name: _height(quality[name]) for name in names}
    low, high = min(heights.values()), max(heights.values())
    pad = max(0.06 * (high - low), 0.1)
    axes = Axes((fast / 1.25, slow * 1.6), (low - pad, high + pad), 560, 380, log_x=True)
    front = pareto(quality, {name: milliseconds[name] for name in names})
    steps: list[tuple[float, float]] = []
    for name in front:
        if steps:
            steps.append((milliseconds[name], steps[-1][1]))
        steps.append((milliseconds[name], heights[name]))
    steps.append((axes.x[1], steps[-1][1]))
    parts = [f'<path class="front" d="{axes.path(steps)}"/>']
    places = {name: axes.at(milliseconds[name], heights[name]) for name in names}
    rings = set(hollow)
    for name, (x, y) in places.items():
        kind = f'dot fill{hues[name]}' if name in hues else 'dot rest'
        parts.append(
            f'<circle class="{kind}{" ring" if name in rings else ""}" '
            f'data-detector="{escape(name)}" cx="{number(x)}" cy="{number(y)}" r="5">'
            f'<title>{escape(name)}: {percent(quality[name])} % at '
            f'{three_digits(milliseconds[name])} ms</title></circle>'
        )
    first = [*front, *(name for name in hues if name in places and name not in front)]
    order = first + [name for name in names if name not in first]
    for name, (x, y, side) in _labels(axes, places, order).items():
        kind = f'ink{hues[name]}' if name in hues else 'faint'
        parts.append(
            f'<text class="label {side} {kind}" data-detector="{escape(name)}" x="{number(x)}" '
            f'y="{number(y)}">{escape(name)}</text>'
        )
    shares = [(_height(share), f'{100 * share:g}') for share in QUALITY_TICKS]
    return axes.svg(
        ''.join(parts),
        'Quality against milliseconds per frame',
        [(value, f'{value:g}') for value in log_ticks(*axes.x)],
        [tick for tick in shares if axes.y[0] <= tick[0] <= axes.y[1]],
        'Milliseconds per frame, log scale',
        'Mean AUROC, %',
    )


def _height(quality: float) -> float:
    """Return the height of a quality in 0..1: every step up halves what is missing to 1."""
    return -math.log2(max(1 - quality, PERFECT))


def pareto(quality: Mapping[str, float], cost: Mapping[str, float]) -> list[str]:
    """Return the names that no cheaper one reaches in quality, cheapest first."""
    front: list[str] = []
    for name in sorted(cost, key=lambda name: (cost[name], -quality[name])):
        if not front or quality[name] > quality[front[-1]]:
            front.append(name)
    return front


def _labels(
    axes: Axes, places: Mapping[str, tuple[float, float]], order: Sequence[str]
) -> dict[str, tuple[float, float, str]]:
    """Return x, y and anchor of each label that has room; the first in `order` choose first."""
    left, top, right, bottom = axes.box
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    labels = {}
    for name in order:
        x, y = places[name]
        width = LETTER * len(name)
        for start, base, side in (
            (x + 9, y + 4, 'start'),
            (x - 9 - width, y + 4, 'end'),
            (x - width / 2, y - 10, 'mid'),
            (x - width / 2, y + 18, 'mid'),
            (x + 6, y - 8, 'start'),
            (x + 6, y + 16, 'start'),
            (x - 6 - width, y - 8, 'end'),
            (x - 6 - width, y + 16, 'end'),
        ):
            box = (start, base - 11, start + width, base + 3)
            inside = left <= box[0] and box[2] <= right and top <= box[1] and box[3] <= bottom
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                anchor = {'start': start, 'mid': start + width / 2, 'end': start + width}[side]
                labels[name] = (anchor, base, side)
                break
    return labels


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def iou_bars(clean: Mapping[str, Any], attacked: Mapping[str, Any]) -> str:
    """Return one row per class: IoU before (pale) and after (strong), best class first."""

    def order(name: str) -> float:
        return -(finite(clean.get(name)) or 0.0)

    rows = []
    for name in sorted(clean, key=order):
        before, after = finite(clean[name]), finite(attacked.get(name))
        widths = ''.join(
            f'<i class="{kind}" style="width:{percent(value)}%"></i>'
            for kind, value in (('before', before), ('after', after))
            if value is not None
        )
        rows.append(
            f'<div class="iou"><span>{escape(name)}</span><span class="bar">{widths}</span>'
            f'<span class="num"><small>{percent(before)} →</small> {percent(after)}</span></div>'
        )
    return ''.join(rows)
