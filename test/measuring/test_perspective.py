from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_training.measuring.perspective import Box, Camera, paste, seen

CAMERA = Camera(focal=200, height=1.5, horizon=60, centre=80)


@given(st.floats(2, 80), st.floats(0.2, 2), st.floats(-3, 3), st.floats(0.3, 3))
def test_an_object_stands_on_the_ground_and_grows_with_one_over_distance(z, tall, lateral, aspect):
    near, far = (seen(CAMERA, distance, tall, lateral, aspect) for distance in (z, 2 * z))
    assert near.height == pytest.approx(2 * far.height)
    assert near.width == pytest.approx(aspect * near.height)
    # The foot is where the ground is at that distance, whatever the object's height.
    assert near.top + near.height == pytest.approx(60 + 200 * 1.5 / z)
    assert near.left + near.width / 2 == pytest.approx(80 + 200 * lateral / z)
    # A thing as high as the camera ends at the horizon.
    assert seen(CAMERA, z, 1.5, lateral, aspect).top == pytest.approx(60)


def solid(rows: int = 32, columns: int = 24) -> np.ndarray:
    cutout = np.zeros((rows, columns, 4), np.uint8)
    cutout[...] = (250, 10, 10, 255)
    return cutout


@given(st.floats(-20, 150), st.floats(-20, 110), st.floats(3, 60), st.floats(3, 60))
def test_the_mask_covers_the_box_and_nothing_else_changes(left, top, width, height):
    image = np.full((120, 160, 3), 100, np.uint8)
    pasted, mask = paste(image, solid(), Box(left, top, width, height))
    rows, columns = np.mgrid[:120, :160] + 0.5
    inside = (columns > left) & (columns < left + width) & (rows > top) & (rows < top + height)
    deep = (
        (columns > left + 2)
        & (columns < left + width - 2)
        & (rows > top + 2)
        & (rows < top + height - 2)
    )
    assert (mask[deep] == 1).all()
    assert (pasted[deep] == (250, 10, 10)).all()
    wide = (
        (columns > left - 2)
        & (columns < left + width + 2)
        & (rows > top - 2)
        & (rows < top + height + 2)
    )
    assert (pasted[~wide] == 100).all()
    assert mask[~wide].sum() == 0
    assert abs(int(mask.sum()) - int(inside.sum())) <= 2 * (width + height) + 4
    assert (image == 100).all()


def test_transparent_pixels_lend_no_colour():
    cutout = solid()
    cutout[:, :12] = (0, 255, 0, 0)
    pasted, mask = paste(np.full((120, 160, 3), 100, np.uint8), cutout, Box(50, 50, 12, 16))
    assert not mask[:, 50:55].any()
    assert pasted[..., 1].max() <= 100
