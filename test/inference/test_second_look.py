"""The second look: where it looks, what it adds, how it is calibrated."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_bundle import (
    HEIGHT,
    MAP,
    WIDTH,
    anomaly_image,
    channel,
    make_tiny_bundle,
    normal_image,
)

from ros2_ood_monitor.bundle.manifest import BundleError
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.calibration.channels import AlarmBudget, calibrate, shares
from ros2_ood_monitor.calibration.recording import columns, scalars
from ros2_ood_monitor.calibration.sequences import REGION_LEVEL, SECOND_LEVEL, NormalSequence
from ros2_ood_monitor.cli import main
from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.frame import Frame
from ros2_ood_monitor.inference.runner import Runner, RunnerError
from ros2_ood_monitor.inference.second_look import most_unusual, with_new, with_window

REGIONS = {'threshold': 0.5, 'min_area': 6, 'sensitive_threshold': 0.3}
SECOND = {'threshold': 0.5, 'sensitive_threshold': 0.3}
SCALE = 3
"""Camera pixels per pixel of the network's input."""
PATCH = (slice(60, 72), slice(120, 132))
"""4x4 pixels of the input, so about one of its map: too few, and four times as many enlarged."""


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    directory = tmp_path_factory.mktemp('second') / 'bundle'
    make_tiny_bundle(directory, {'object': channel(regions={**REGIONS, 'second_look': SECOND})})
    return ModelBundle.load(directory)


def camera_image(patch: bool = True) -> np.ndarray:
    """Return an image that is larger than the network's input, with a small glaring patch."""
    size = (SCALE * WIDTH, SCALE * HEIGHT)
    image = cv2.resize(normal_image(), size, interpolation=cv2.INTER_NEAREST)
    if patch:
        image[PATCH] = (255, 0, 255)
    return image


def test_a_patch_too_small_for_one_look_is_found_by_two(bundle):
    frame = Frame(camera_image())
    with Runner(bundle) as once, Runner(bundle, second_look_every=1) as twice:
        first, both = once.infer(frame), twice.infer(frame)
        assert first.regions == first.sensitive_regions == ()
        assert twice.infer(Frame(camera_image(patch=False))).sensitive_regions == ()
    (region,) = both.regions
    rows, columns = PATCH
    # In camera pixels; a map pixel of the window is six of the camera's.
    assert region.x == pytest.approx(columns.start, abs=12)
    assert region.y == pytest.approx(rows.start, abs=12)
    assert region.x + region.width == pytest.approx(columns.stop, abs=12)
    assert region.y + region.height == pytest.approx(rows.stop, abs=12)
    assert both.sensitive_regions
    assert both.statistics == first.statistics
    assert both.scores == first.scores
    assert both.anomaly_map[20:24, 40:44].max() >= 0.5
    assert list(both.timings) == ['prepare', 'inference', 'fusion', 'second_look', 'total']
    parts = sum(value for name, value in both.timings.items() if name != 'total')
    assert both.timings['total'] == pytest.approx(parts)


def test_every_second_frame_is_looked_at_again(bundle):
    with Runner(bundle, second_look_every=2) as runner:
        found = [bool(runner.infer(Frame(camera_image())).regions) for _ in range(6)]
    assert found == [False, True] * 3


def test_what_the_first_look_has_found_is_not_found_twice(bundle):
    frame = Frame(anomaly_image())
    with Runner(bundle) as once, Runner(bundle, second_look_every=1) as twice:
        assert once.infer(frame).regions == twice.infer(frame).regions != ()


def test_no_region_is_sought_outside_the_region_of_interest(bundle):
    inside = np.ones(MAP, np.uint8)
    inside[: MAP[0] // 2 + 2] = 0
    for mask, count in ((inside, 0), (1 - inside, 1)):
        with Runner(bundle, region_of_interest=mask, second_look_every=1) as runner:
            assert len(runner.infer(Frame(camera_image())).regions) == count


def test_a_bundle_without_its_calibration_is_refused(tmp_path):
    bundle = ModelBundle.load(make_tiny_bundle(tmp_path / 'bundle'))
    with pytest.raises(RunnerError, match='set second_look_every to 0'):
        Runner(bundle, second_look_every=1)
    assert SECOND_LEVEL not in columns(dict(bundle.channels))


@pytest.mark.parametrize(
    ('regions', 'words'),
    [
        ({**REGIONS, 'second_look': {'threshold': 0.2, 'sensitive_threshold': 0.3}}, 'above'),
        ({'threshold': 0.5, 'min_area': 6, 'second_look': SECOND}, 'needs a sensitive_threshold'),
        ({**REGIONS, 'second_look': {'threshold': 0.2}}, 'sensitive_threshold'),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(regions, words, tmp_path):
    with pytest.raises(BundleError, match=words):
        make_tiny_bundle(tmp_path / 'bundle', {'object': channel(regions=regions)})


@given(
    row=st.integers(0, MAP[0] - 1),
    column=st.integers(0, MAP[1] - 1),
    rows=st.integers(MAP[0], 40),
    columns=st.integers(MAP[1], 50),
)
def test_the_window_holds_the_peak_and_stays_inside(row, column, rows, columns):
    anomaly = np.zeros((rows, columns), np.float32)
    anomaly[row, column] = 1
    window = most_unusual(anomaly)
    place = window.slices(anomaly.shape)
    assert anomaly[place].max() == 1
    assert anomaly[place].shape == (rows // 2, columns // 2)
    # The same part of the camera's image.
    high, wide = window.slices((8 * rows, 8 * columns, 3))
    assert (high.start, high.stop) == (8 * place[0].start, 8 * place[0].stop)
    assert (wide.start, wide.stop) == (8 * place[1].start, 8 * place[1].stop)


def test_the_map_to_look_at_has_the_higher_of_both(bundle):
    rng = np.random.default_rng(1)
    anomaly, seen = rng.random((2, *MAP), dtype=np.float32)
    window = most_unusual(anomaly)
    merged = with_window(anomaly, window, seen)
    outside = np.ones(MAP, bool)
    outside[window.slices(MAP)] = False
    np.testing.assert_array_equal(merged[outside], anomaly[outside])
    part = merged[window.slices(MAP)]
    assert (part >= anomaly[window.slices(MAP)]).all()
    smaller = seen.reshape(MAP[0] // 2, 2, MAP[1] // 2, 2).max(axis=(1, 3))
    np.testing.assert_allclose(part, np.maximum(anomaly[window.slices(MAP)], smaller), rtol=1e-5)


def test_regions_that_only_touch_are_two():
    first = Region(0, 0, 10, 10, 100, 0.9, 0.8)
    beside, over = Region(10, 0, 5, 5, 25, 1, 1), Region(9, 9, 50, 50, 2500, 1, 1)
    assert with_new([first], [beside, over]) == (first, beside)
    assert with_new([], [beside, over]) == (over, beside)


def test_the_shares_of_normal_frames_hold_for_each_look(bundle):
    rng = np.random.default_rng(3)
    first, second = rng.random(1000) * 0.9, rng.random(1000) * 0.99
    normal = NormalSequence(
        {'object': rng.random(1000), REGION_LEVEL: first, SECOND_LEVEL: second}
    )
    channels = calibrate([normal], dict(bundle.channels), AlarmBudget(1.0, 10.0))
    regions = channels['object'].regions
    for levels, point in ((first, regions), (second, regions.second_look)):
        assert np.mean(levels >= point.threshold) <= 0.01
        assert 0.03 <= np.mean(levels >= point.sensitive_threshold) <= 0.05
    assert regions.second_look.threshold > regions.threshold
    assert shares(channels) == 3


def test_calibration_keeps_the_level_of_the_second_look(bundle):
    with Runner(bundle) as runner:
        found = scalars(Frame(camera_image()), runner)
        normal = scalars(Frame(camera_image(patch=False)), runner)
    assert set(found) == set(columns(dict(bundle.channels)))
    assert found[SECOND_LEVEL] > 0.5 > found[REGION_LEVEL]
    assert normal[SECOND_LEVEL] < 0.3


@pytest.mark.parametrize('every', [0, 1])
def test_a_folder_is_replayed_with_the_second_look_of_the_configuration(bundle, tmp_path, every):
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(12):
        cv2.imwrite(str(folder / f'{index:02}.png'), camera_image()[:, :, ::-1])
    config = tmp_path / 'monitor.yaml'
    config.write_text(f'/**:\n  ros__parameters:\n    second_look_every: {every}\n')
    words = ['replay', '--bundle', str(bundle.directory), '--config', str(config)]
    words += ['--output', str(tmp_path / 'out'), '--rate', '10', str(folder)]
    assert main(words) == 0
    lines = (tmp_path / 'out' / 'alerts.jsonl').read_text().splitlines()
    found = {cause[1] for line in lines for cause in json.loads(line).get('causes', ())}
    assert ('unknown_region' in found) == bool(every)
