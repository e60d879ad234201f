"""Values, places and numbers of a chart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_ood_monitor.pages.axes import Axes, log_ticks, simplified
from ros2_ood_monitor.pages.label_places import label_places
from ros2_ood_monitor.pages.numbers import interval, percent, three_digits


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_simplified_path_stays_close_to_every_point(places):
    points = np.array(places, dtype=float)
    kept = simplified(points, tolerance=2.0)
    np.testing.assert_array_equal(kept[[0, -1]], points[[0, -1]])
    for point in points:
        nearest = min(
            (distance(point, start, end) for start, end in pairwise(kept)),
            default=float(np.hypot(*(point - kept[0]))),
        )
        assert nearest <= 2.0 + 1e-9


def distance(point, start, end) -> float:
    """Return the distance of a point to a segment."""
    along = end - start
    square = along @ along
    foot = min(1.0, max(0.0, float((point - start) @ along / square))) if square else 0.0
    return float(np.hypot(*(point - start - foot * along)))


def test_axes_put_values_where_they_belong():
    axes = Axes((0, 10), (0, 1), 200, 100, margins=(10, 20, 30, 40))
    assert axes.at(0, 0) == (40, 70)
    assert axes.at(10, 1) == (180, 10)
    assert Axes((1, 100), (0, 1), 200, 100, (0, 0, 0, 0), log_x=True).at(10, 0) == (100, 100)
    np.testing.assert_allclose(log_ticks(4, 120), [5, 10, 20, 50, 100])


def test_numbers_as_they_are_written():
    assert [percent(value) for value in (0.97123, 1, 0.0, None, float('nan'))] == [
        '97.1',
        '100.0',
        '0.0',
        '–',
        '–',
    ]
    assert [interval(value) for value in ([0.5, 0.6], None, [], [None, 0.5])] == [
        '50.0–60.0',
        '',
        '',
        '',
    ]
    assert [three_digits(value) for value in (4.271, 41.25, 1350.4, None)] == [
        '4.27',
        '41.2',
        '1350',
        '–',
    ]


@given(
    st.dictionaries(
        st.text('ab_', min_size=1, max_size=30),
        st.tuples(st.floats(0, 300), st.floats(0, 200)),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_labels_stay_inside_and_off_the_dots_and_each_other(places):
    labels = label_places((0, 0, 300, 200), places, sorted(places))
    boxes = {}
    for name, (x, y, side) in labels.items():
        width = 6.5 * len(name)
        left = x - {'start': 0, 'mid': width / 2, 'end': width}[side]
        boxes[name] = (left, y - 11, left + width, y + 3)
    for name, (left, top, right, bottom) in boxes.items():
        assert left >= -1e-9
        assert right <= 300 + 1e-9
        assert top >= 0
        assert bottom <= 200
        for x, y in places.values():
            assert not (left < x < right and top < y < bottom)
        for other, (a, b, c, d) in boxes.items():
            assert other == name or not (
                a + 1e-9 < right and left + 1e-9 < c and b < bottom and top < d
            )
