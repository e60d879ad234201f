"""The charts of the comparison report."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from offline_training.compare.results import Curves, Histogram, Reliability
from ros2_ood_monitor.pages.axes import Axes, log_ticks
from ros2_ood_monitor.pages.charts import (
    Chart,
    Corner,
    Dot,
    Label,
    Path,
    curves,
    key,
    named_dots,
    steps,
)
from ros2_ood_monitor.pages.numbers import percent, three_digits

SHARES = [(share / 100, str(share)) for share in range(0, 101, 20)]
HALVES = [(0.0, '0'), (0.5, '50'), (1.0, '100')]
QUALITY_TICKS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
PERFECT = 0.0005
"""What is missing to 1 counts no less: the axis would have no end."""

Values = Mapping[str, float | None]
Hues = Mapping[str, int]


def roc_chart(drawn: Mapping[str, Curves], areas: Values, hues: Hues) -> Chart:
    """Return ROC curves; `areas` are AUROC in 0..1, detectors without a hue are thin and grey."""
    axes = Axes((0, 1), (0, 1), 420, 380)
    return Chart(
        axes,
        'ROC curves',
        [_diagonal(axes), *curves(axes, {name: one.roc for name, one in drawn.items()}, hues)],
        labels=_key(axes, areas, hues, 'lower right'),
        x_ticks=SHARES,
        y_ticks=SHARES,
        x_label='False positive rate, %',
        y_label='True positive rate, %',
    )


def pr_chart(drawn: Mapping[str, Curves], precisions: Values, hues: Hues) -> Chart:
    """Return precision-recall curves; `precisions` are average precisions in 0..1.

    The key stands where the fewest curves are.
    """
    axes = Axes((0, 1), (0, 1), 420, 380)
    known = [value for name in hues if (value := precisions.get(name)) is not None]
    strong = bool(known) and sum(known) / len(known) > 0.5
    return Chart(
        axes,
        'Precision-recall curves',
        curves(axes, {name: one.pr for name, one in drawn.items()}, hues),
        labels=_key(axes, precisions, hues, 'lower left' if strong else 'upper right'),
        x_ticks=SHARES,
        y_ticks=SHARES,
        x_label='Recall, %',
        y_label='Precision, %',
    )


def _diagonal(axes: Axes) -> Path:
    return Path(axes.path([(0, 0), (1, 1)]), 'chance')


def _key(axes: Axes, values: Values, hues: Hues, corner: Corner) -> list[Label]:
    known = {name: value for name in hues if (value := values.get(name)) is not None}
    best_first = sorted(known, key=lambda name: -known[name])
    return key(axes, {name: percent(known[name]) for name in best_first}, hues, corner)


def histogram_chart(histogram: Histogram) -> Chart:
    """Return the scores of normal and anomalous samples; heights are square roots of shares.

    Most scores pile up in few bins: with plain shares the tail, where mistakes are made, would
    not be seen.
    """
    edges = histogram.edges
    heights = {
        kind: [share**0.5 for share in shares]
        for kind, shares in (('normal', histogram.normal), ('anomalous', histogram.anomalous))
    }
    peak = max(max(values) for values in heights.values())
    axes = Axes((edges[0], edges[-1]), (0, 1.05 * peak), 220, 130, (4, 8, 20, 8))
    left, _, right, bottom = axes.box
    ends = ((edges[0], left, 'start'), (edges[-1], right, 'end'))
    return Chart(
        axes,
        'Histogram of scores',
        steps(axes, edges, heights),
        labels=[Label(x, bottom + 15, f'{edge:.3g}', f'tick {side}') for edge, x, side in ends],
    )


def reliability_chart(diagram: Reliability) -> Chart:
    """Return accuracy against confidence; the area of a dot is its bin's share of samples."""
    axes = Axes((0, 1), (0, 1), 220, 200, (8, 10, 38, 48))
    bins = zip(diagram.confidence, diagram.accuracy, diagram.samples, strict=True)
    known = [(x, y, samples) for x, y, samples in bins if x is not None and y is not None]
    most = max((samples for _, _, samples in known), default=0) or 1
    line = [Path(axes.path([row[:2] for row in known]), 'curve hue0')] if known else []
    return Chart(
        axes,
        'Reliability diagram',
        [_diagonal(axes), *line],
        [
            Dot(
                *axes.at(x, y),
                'fill0',
                2 + 6 * (samples / most) ** 0.5,
                title=f'confidence {percent(x)} %, accuracy {percent(y)} %',
            )
            for x, y, samples in known
        ],
        x_ticks=HALVES,
        y_ticks=HALVES,
        x_label='Confidence, %',
        y_label='Accuracy, %',
    )


def cost_chart(
    quality: Mapping[str, float],
    milliseconds: Mapping[str, float],
    hues: Hues,
    hollow: Collection[str] = (),
) -> Chart | None:
    """Return quality (0..1) against milliseconds per frame, a dot per detector; None without one.

    Both axes are logarithmic, the quality's in what is missing to 1: the best lie close together.
    A line joins the detectors that no other one beats in both. Names in `hollow` get a ring.
    """
    cost = {name: ms for name in quality if (ms := milliseconds.get(name, 0)) > 0}
    if not cost:
        return None
    points = {name: (ms, _height(quality[name])) for name, ms in cost.items()}
    low, high = (choose(height for _, height in points.values()) for choose in (min, max))
    pad = max(0.06 * (high - low), 0.1)
    span = (min(cost.values()) / 1.25, max(cost.values()) * 1.6)
    axes = Axes(span, (low - pad, high + pad), 560, 380, log_x=True)
    front = pareto(quality, cost)
    corners = []
    for name, after in zip(front, [*front[1:], None], strict=True):
        corners += [points[name], (points[after][0] if after else span[1], points[name][1])]
    titles = {
        name: f'{name}: {percent(quality[name])} % at {three_digits(ms)} ms'
        for name, ms in cost.items()
    }
    first = [*front, *(name for name in hues if name in points)]
    dots, labels = named_dots(axes, points, hues, titles, hollow, first)
    shares = [(_height(share), f'{100 * share:g}') for share in QUALITY_TICKS]
    return Chart(
        axes,
        'Quality against milliseconds per frame',
        [Path(axes.path(corners), 'front')],
        dots,
        labels,
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
