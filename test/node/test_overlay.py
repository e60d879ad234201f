from __future__ import annotations

import math

import numpy as np
import pytest
from support.channels import channel_scores

from ros2_ood_monitor.alert import Alert, Cause, State
from ros2_ood_monitor.detection import Detection, Region
from ros2_ood_monitor.pages.overlay import TINT, _lines, draw
from ros2_ood_monitor.pages.state_styles import COLORS

HEIGHT, WIDTH = 480, 640
PALETTE = [(128, 64, 128), (0, 0, 255)]
GREY = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def detection(labels=255, anomaly=0.0, regions=()) -> Detection:
    """At half the image's size, as a network's output would be."""
    shape = (HEIGHT // 2, WIDTH // 2)
    return Detection(
        np.full(shape, labels, np.uint8),
        np.full(shape, anomaly, np.float32),
        channel_scores(1.0),
        regions,
    )


def alert(state=State.NOMINAL, evidence=0.0, threshold=8.0, text='why') -> Alert:
    return Alert('front', state, (Cause(state, 'code', text),), 1.0, evidence, threshold, 3, 10.0)


def below_banner(shown: np.ndarray) -> np.ndarray:
    return shown[40:]


def test_a_known_view_without_labels_is_left_alone_and_the_input_too():
    image = GREY.copy()
    shown = draw(image, detection(), alert(), PALETTE)
    assert (shown.shape, shown.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(below_banner(shown), below_banner(GREY))
    np.testing.assert_array_equal(image, GREY)


def test_classes_are_tinted_in_their_colour():
    shown = below_banner(draw(GREY, detection(labels=1), alert(), PALETTE))
    expected = (1 - TINT) * 100 + TINT * np.array(PALETTE[1])
    assert np.abs(shown - expected).max() <= 1


def test_a_label_beyond_the_palette_is_not_tinted():
    shown = draw(GREY, detection(labels=2), alert(), PALETTE)
    np.testing.assert_array_equal(below_banner(shown), below_banner(GREY))


def test_heat_grows_with_the_probability_and_invalid_pixels_have_none():
    strength = [
        np.abs(
            below_banner(draw(GREY, detection(anomaly=p), alert(), PALETTE)).astype(int) - 100
        ).sum()
        for p in (0.05, 0.3, 0.6, 0.95)
    ]
    assert strength[0] == 0
    assert strength[1] > 0
    assert strength[3] > strength[1]
    invalid = draw(GREY, detection(anomaly=math.nan), alert(), PALETTE)
    np.testing.assert_array_equal(below_banner(invalid), below_banner(GREY))
    certain = below_banner(draw(GREY, detection(anomaly=1.0), alert(), PALETTE))[0, 0]
    assert certain[0] > certain[2] > certain[1]  # magenta


def test_heat_is_where_the_anomaly_is():
    hot = detection()
    hot.anomaly_map[60:80, 100:120] = 1.0
    changed = (draw(GREY, hot, alert(), PALETTE) != 100).any(2)[40:]
    rows, columns = np.nonzero(changed)
    assert abs(rows.min() + 40 - 120) <= 2
    assert abs(rows.max() + 40 - 159) <= 2
    assert abs(columns.min() - 200) <= 2
    assert abs(columns.max() - 239) <= 2


def test_region_boxes_are_in_camera_pixels():
    region = Region(x=100, y=80, width=60, height=50, area=2000, peak=0.87, mean=0.6)
    shown = draw(GREY, detection(regions=(region,)), alert(), PALETTE)
    for x, y in ((100, 105), (160, 105), (130, 80), (130, 130)):
        near = shown[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert (near == 255).all(1).any(), (x, y)
    assert (shown[100:110, 120:140] == 100).all()
    assert (shown[135:145, 100:170] == 0).any()  # the label below


def test_a_small_image_is_enlarged_with_its_boxes():
    small = np.full((192, 256, 3), 100, np.uint8)
    region = Region(x=50, y=60, width=40, height=30, area=900, peak=0.87, mean=0.6)
    shown = draw(small, detection(regions=(region,)), alert(), PALETTE)
    assert shown.shape == (576, 768, 3)
    for x, y in ((150, 225), (270, 225), (210, 180), (210, 270)):
        near = shown[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert (near == 255).all(1).any(), (x, y)


def test_a_long_sentence_takes_more_lines_and_is_not_cut():
    region = 'an unknown region of 123x456 pixels at (1234, 567)'
    view = 'the image is unlike those of the calibration, so that unknown objects in it may go '
    both = f'{view}unseen: evidence 12.3 reached the alarm threshold 4.5; {region}'
    assert ' '.join(_lines(both, 640 - 100, 0.45, 1)) == both
    assert _lines(both * 9, 640 - 100, 0.45, 1)[-1].endswith('...')
    heights = []
    for text in (region, both):
        shown = draw(GREY, detection(), alert(State.ALERT, text=text), PALETTE)
        heights.append(int((shown[:, 2] == COLORS[State.ALERT]).all(1).sum()))
    assert heights[0] < 30 < 40 < heights[1]


@pytest.mark.parametrize('state', list(State))
def test_the_banner_has_the_colour_and_name_of_the_state(state):
    shown = draw(GREY, detection(), alert(state), PALETTE)
    assert tuple(shown[1, 1]) == COLORS[state]
    assert (shown[:15] == 255).any()
    assert len(set(COLORS.values())) == len(State)


@pytest.mark.parametrize(
    ('evidence', 'threshold', 'part'),
    [(0.0, 8.0, 0.0), (4.0, 8.0, 0.5), (8.0, 8.0, 1.0), (16.0, 8.0, 1.0), (0.0, math.nan, 0.0)],
)
def test_the_bar_is_full_at_the_alarm_threshold(evidence, threshold, part):
    shown = draw(GREY, detection(), alert(evidence=evidence, threshold=threshold), PALETTE)
    white = (shown[:31] == 255).all(2)
    assert white[-4:].mean(1).max() == pytest.approx(part, abs=0.02)


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (300, 7), (720, 1280)])
@pytest.mark.parametrize('text', ['', 'a cause that takes many words to tell ' * 20, 'Kälte 冷'])
def test_any_size_and_text_can_be_drawn(size, text):
    image = np.zeros((*size, 3), np.uint8)
    regions = (
        Region(-5, -5, 30, 30, 900, 1.0, 1.0),
        Region(size[1] - 2, size[0] - 2, 50, 50, 900, 1.0, 1.0),
    )
    shown = draw(image, detection(0, 0.7, regions), alert(text=text), PALETTE)
    times = {1: 4, 7: 4, 300: 3, 1280: 1}[size[1]]
    assert shown.shape == (times * size[0], times * size[1], 3)
