"""Regions: hysteresis boxes, and the level at which a map just has one."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ros2_ood_monitor.inference.regions import (
    find_regions,
    region_level,
    strict_and_sensitive_regions,
)

MAPS = arrays(np.float32, (9, 11), elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]))


def blob(core: float, rim: float) -> np.ndarray:
    """Return a map with a bright core of 4x4 in a rim of 10x10 pixels."""
    image = np.zeros((30, 40), np.float32)
    cv2.rectangle(image, (10, 8), (19, 17), rim, -1)
    cv2.rectangle(image, (13, 11), (16, 14), core, -1)
    return image


def test_a_box_covers_the_object_and_not_its_core_alone():
    (narrow,) = find_regions(blob(0.95, 0.6), 0.9, 4, 2.0, 3.0)
    (wide,), sensitive = strict_and_sensitive_regions(blob(0.95, 0.6), 0.9, 0.5, 4, 2.0, 3.0)
    assert sensitive == (wide,)
    assert (narrow.x, narrow.y, narrow.width, narrow.height) == (26, 33, 8, 12)
    assert (wide.x, wide.y, wide.width, wide.height) == (20, 24, 20, 30)
    assert wide.area == 600
    assert wide.peak == np.float32(0.95)


def test_a_rim_without_a_core_is_no_region():
    strict, (sensitive,) = strict_and_sensitive_regions(blob(0.6, 0.6), 0.9, 0.5, 4, 1.0, 1.0)
    assert strict == ()
    assert (sensitive.width, sensitive.height) == (10, 10)


def test_two_cores_in_one_rim_are_one_region():
    image = blob(0.6, 0.6)
    image[9:12, 11:14] = image[14:17, 16:19] = 0.95
    (region,), _ = strict_and_sensitive_regions(image, 0.9, 0.5, 4, 1.0, 1.0)
    assert (region.width, region.height) == (10, 10)


@given(MAPS, st.integers(1, 12))
def test_a_region_exists_exactly_up_to_the_level(image: np.ndarray, min_area: int):
    level = region_level(image, min_area)
    for threshold in np.unique(image[image > 0]):
        exists = bool(find_regions(image, float(threshold), min_area, 1.0, 1.0))
        assert exists == (float(threshold) <= level)


@given(MAPS, st.integers(1, 6))
def test_hysteresis_loses_no_core_and_adds_none(image: np.ndarray, min_area: int):
    cores = find_regions(image, 0.7, min_area, 1.0, 1.0)
    wide, sensitive = strict_and_sensitive_regions(image, 0.7, 0.3, min_area, 1.0, 1.0)
    assert sensitive == find_regions(image, 0.3, min_area, 1.0, 1.0)
    assert set(wide) <= set(sensitive)
    assert bool(cores) == bool(wide)
    assert len(wide) <= len(cores)
    for core in cores:
        assert any(
            each.x <= core.x
            and each.y <= core.y
            and each.x + each.width >= core.x + core.width
            and each.y + each.height >= core.y + core.height
            for each in wide
        )
