"""Places for labels beside their dots, where they cover neither a dot nor each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
LETTER = 6.5
"""Width of an average letter of a label, in units of the view box."""


def label_places(
    inside: Box, places: Mapping[str, tuple[float, float]], order: Iterable[str]
) -> dict[str, tuple[float, float, str]]:
    """Return x, y and anchor of each label that has room; the first in `order` choose first."""
    left, top, right, bottom = inside
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
            fits = left <= box[0] and box[2] <= right and top <= box[1] and box[3] <= bottom
            if fits and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                anchor = {'start': start, 'mid': start + width / 2, 'end': start + width}[side]
                labels[name] = (anchor, base, side)
                break
    return labels


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
