from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros2_ood_monitor.inference.preprocessing import prepare


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def test_same_size_is_unchanged(image: np.ndarray) -> None:
    prepared = prepare(image, 40, 24, 'rgb')
    assert prepared.shape == (1, 24, 40, 3)
    assert prepared.flags.c_contiguous
    np.testing.assert_array_equal(prepared[0], image)


def test_bgr_reverses_the_channels_and_leaves_the_image_alone(image: np.ndarray) -> None:
    before = image.copy()
    np.testing.assert_array_equal(prepare(image, 40, 24, 'bgr')[0], before[:, :, ::-1])
    np.testing.assert_array_equal(image, before)


def test_colour_order_commutes_with_resize(image: np.ndarray) -> None:
    rgb, bgr = (prepare(image, 30, 20, order)[0] for order in ('rgb', 'bgr'))
    np.testing.assert_array_equal(bgr, rgb[:, :, ::-1])


def test_enlarging_interpolates_between_pixel_centres() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[:, 1] = 100
    row = prepare(image, 4, 2, 'rgb')[0, 0, :, 0]
    np.testing.assert_array_equal(row, [0, 25, 75, 100])


@pytest.mark.parametrize('axis', [0, 1])
def test_strong_shrinking_of_one_side_averages_instead_of_aliasing(axis: int) -> None:
    stripes = np.zeros((64, 60, 3), np.uint8)
    stripes[(slice(None),) * axis + (slice(None, None, 4),)] = 200
    averaged = prepare(stripes, *((60, 16) if axis == 0 else (15, 64)), 'rgb')
    assert np.abs(averaged.astype(int) - 50).max() <= 1


def test_moderate_shrinking_is_bilinear(image: np.ndarray) -> None:
    expected = cv2.resize(image, (20, 12), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(prepare(image, 20, 12, 'rgb')[0], expected)


def test_a_view_of_a_larger_image_gives_contiguous_bytes(image: np.ndarray) -> None:
    view = image[:, 4:36]
    prepared = prepare(view, 32, 24, 'rgb')
    assert prepared.flags.c_contiguous
    np.testing.assert_array_equal(prepared[0], view)


@pytest.mark.parametrize(
    'bad',
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match='pass a non-empty uint8 RGB'):
        prepare(bad, 8, 8, 'rgb')


def test_unknown_colour_order_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="color_order 'gbr' is unknown"):
        prepare(image, 8, 8, 'gbr')
