from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_training.measures.object_recall import SIZES, ObjectRecall, objects
from ros2_ood_monitor.detection import Region

ROWS, COLUMNS = 60, 100


def box(left: int, top: int, width: int, height: int) -> Region:
    return Region(left, top, width, height, width * height, 1.0, 1.0)


def mask_of(*boxes: Region) -> np.ndarray:
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    for each in boxes:
        rows = slice(int(each.y), int(each.y + each.height))
        mask[rows, int(each.x) : int(each.x + each.width)] = 1
    return mask


def measured(mask, reached, regions) -> dict:
    recall = ObjectRecall()
    recall.update(mask, reached, regions)
    return recall.report()


boxes = st.builds(
    box, st.integers(0, 60), st.integers(0, 30), st.integers(4, 40), st.integers(4, 30)
)


@given(boxes, boxes)
def test_what_is_found_agrees_with_counting_the_pixels(truth, region):
    mask, reached = mask_of(truth), mask_of(region) == 1
    report = measured(mask, reached, [region])
    common = np.count_nonzero(reached & (mask == 1)) / np.count_nonzero(mask)
    assert report['all']['objects'] == 1
    assert report['all']['touched'] == (100 if common > 0 else 0)
    assert report['all']['covered_25'] == (100 if common >= 0.25 else 0)
    assert report['all']['covered_50'] == (100 if common >= 0.5 else 0)
    assert report['false_regions_per_frame'] == (0 if common > 0 else 1)
    boxed = report['all']['boxed_half_of_touched']
    # Here a region fills its box.
    assert boxed == (None if common == 0 else 100 if common >= 0.5 else 0)
    sizes = [each['objects'] for each in report['by_size'].values()]
    assert sum(sizes) == 1
    share = np.count_nonzero(mask) / mask.size
    assert list(SIZES)[sizes.index(1)] == (
        '< 2 %' if share < 0.02 else '2-4.5 %' if share < 0.045 else '> 4.5 %'
    )


@given(st.lists(boxes, max_size=3), st.lists(boxes, max_size=3), boxes)
def test_one_more_region_never_finds_less(truths, regions, more):
    mask = mask_of(*truths)
    before = measured(mask, mask_of(*regions) == 1, regions)
    after = measured(mask, mask_of(*regions, more) == 1, [*regions, more])
    for key in ('touched', 'covered_25', 'covered_50'):
        assert (after['all'][key] or 0) >= (before['all'][key] or 0)
    assert after['all']['objects'] == before['all']['objects']


def test_pixels_outside_every_region_do_not_count():
    truth = box(10, 10, 20, 20)
    everywhere = np.ones((ROWS, COLUMNS), bool)
    assert measured(mask_of(truth), everywhere, [])['all']['touched'] == 0
    half = box(10, 10, 10, 20)
    report = measured(mask_of(truth), everywhere, [half])['all']
    assert report['covered_50'] == 100
    assert report['covered_25'] == 100


def test_a_box_covers_an_object_of_which_only_the_core_reached_the_threshold():
    truth, core = box(10, 10, 20, 20), box(18, 18, 4, 4)
    report = measured(mask_of(truth), mask_of(core) == 1, [box(8, 8, 24, 24)])['all']
    assert (report['touched'], report['covered_25']) == (100, 0)
    assert report['boxed_half_of_touched'] == 100
    report = measured(mask_of(truth), mask_of(core) == 1, [core])['all']
    assert report['boxed_half_of_touched'] == 0


def test_regions_on_ignored_pixels_are_not_false():
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    mask[:20, :20] = 255
    inside, half_outside = box(0, 0, 20, 20), box(15, 0, 20, 20)
    assert measured(mask, mask_of(inside) == 1, [inside])['false_regions_per_frame'] == 0
    report = measured(mask, mask_of(half_outside) == 1, [half_outside])
    assert report['false_regions_per_frame'] == 1


def test_parts_behind_a_pole_are_one_object_and_specks_are_none():
    mask = mask_of(box(10, 10, 8, 20), box(19, 10, 8, 20), box(60, 10, 10, 10))
    mask[50, 90] = 1
    found = objects(mask)
    assert [np.count_nonzero(each) for each in found] == [320, 100]
    assert all((mask[each] == 1).all() for each in found)


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match='one size'):
        ObjectRecall().update(np.zeros((4, 4), np.uint8), np.zeros((2, 2), bool), [])
