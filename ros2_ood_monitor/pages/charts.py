"""Charts as values that `chart.html` draws as inline SVG.

Colours and fonts come from the style sheet by class name (`kind`), so a chart follows the reader's
light or dark scheme. What has a name is marked by a click wherever that name stands on the page.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ros2_ood_monitor.pages.axes import Axes
from ros2_ood_monitor.pages.label_places import label_places

Points = Sequence[Sequence[float]]
Ticks = Sequence[tuple[float, str]]
Corner = Literal['lower left', 'lower right', 'upper right']
LINE = 18
"""From one line of a key to the next, in units of the view box."""


@dataclass(frozen=True)
class Path:
    """A line, or the outline of an area."""

    d: str
    kind: str
    name: str = ''
    title: str = ''
    """Shown while the pointer rests on it."""


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    kind: str
    radius: float = 5
    name: str = ''
    title: str = ''


@dataclass(frozen=True)
class Label:
    """A word, and perhaps a value after it; `kind` has the anchor: start, mid or end."""

    x: float
    y: float
    text: str
    kind: str
    name: str = ''
    value: str = ''


@dataclass(frozen=True)
class Chart:
    """Paths, dots on top of them and labels on top of all; `label` is for screen readers."""

    axes: Axes
    label: str
    paths: Sequence[Path]
    dots: Sequence[Dot] = ()
    labels: Sequence[Label] = ()
    x_ticks: Ticks = ()
    y_ticks: Ticks = ()
    x_label: str = ''
    y_label: str = ''


def curves(axes: Axes, series: Mapping[str, Points], hues: Mapping[str, int]) -> list[Path]:
    """Return a path per series; those without a hue are thin, grey and below the others.

    The first of `hues` lies on top. A series of fewer than two points is left out.
    """
    order = [*(name for name in series if name not in hues), *reversed(list(hues))]
    return [
        Path(
            axes.path(series[name]),
            f'curve hue{hues[name]}' if name in hues else 'curve rest',
            name,
            name,
        )
        for name in order
        if len(series.get(name, ())) > 1
    ]


def key(
    axes: Axes, values: Mapping[str, str], hues: Mapping[str, int], corner: Corner
) -> list[Label]:
    """Return names and their values in the colours of their curves, from top to bottom."""
    left, top, right, bottom = axes.box
    first = top + 20 if corner == 'upper right' else bottom - 14 - LINE * (len(values) - 1)
    x, side = (left + 12, 'start') if corner == 'lower left' else (right - 10, 'end')
    return [
        Label(x, first + LINE * row, name, f'key {side} ink{hues[name]}', name, value)
        for row, (name, value) in enumerate(values.items())
    ]


def steps(
    axes: Axes, edges: Sequence[float], heights: Mapping[str, Sequence[float]]
) -> list[Path]:
    """Return the outline of a histogram per kind, over N + 1 edges, and the line it stands on."""
    outlines = [
        Path(
            axes.path(
                [
                    (edges[0], 0),
                    *(
                        (edge, height)
                        for index, height in enumerate(values)
                        for edge in edges[index : index + 2]
                    ),
                    (edges[-1], 0),
                ]
            ),
            kind,
        )
        for kind, values in heights.items()
    ]
    return [*outlines, Path(axes.path([(edges[0], 0), (edges[-1], 0)]), 'base')]


def named_dots(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    hues: Mapping[str, int],
    titles: Mapping[str, str],
    rings: Collection[str],
    first: Sequence[str],
) -> tuple[list[Dot], list[Label]]:
    """Return a dot per point, and labels where there is room: for `first`, then for the others.

    Names in `rings` get a ring instead of a disc.
    """
    places = {name: axes.at(*point) for name, point in points.items()}
    dots = [
        Dot(
            x,
            y,
            (f'dot fill{hues[name]}' if name in hues else 'dot rest') + ' ring' * (name in rings),
            name=name,
            title=titles[name],
        )
        for name, (x, y) in places.items()
    ]
    order = list(dict.fromkeys([*first, *places]))
    labels = [
        Label(x, y, name, f'label {side} {f"ink{hues[name]}" if name in hues else "faint"}', name)
        for name, (x, y, side) in label_places(axes.box, places, order).items()
    ]
    return dots, labels
