from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnx')

from support.tiny_bundle import (
    FUSION,
    anomaly_image,
    channel,
    fused_map,
    make_tiny_bundle,
    manifest,
    normal_image,
    reference_outputs,
)

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import Frame
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.runner import Runner, RunnerError, SelfTestError


@pytest.fixture(scope='module')
def bundle(tiny_bundle: Path) -> ModelBundle:
    return ModelBundle.load(tiny_bundle)


@pytest.fixture(scope='module', params=['openvino', 'onnxruntime'])
def runner(request: pytest.FixtureRequest, bundle: ModelBundle) -> Iterator[Runner]:
    pytest.importorskip(request.param)
    with Runner(bundle, request.param) as runner:
        yield runner


def frame(image: np.ndarray) -> Frame:
    return Frame(image)


def test_the_anomaly_is_found_where_it_is(runner: Runner) -> None:
    detection = runner.infer(frame(anomaly_image()))
    (region,) = detection.regions
    assert (region.x, region.y) == pytest.approx((24, 16), abs=4)
    assert (region.width, region.height) == pytest.approx((20, 16), abs=8)
    assert region.peak > 0.9
    inside = np.zeros((48, 64), bool)
    inside[18:30, 26:42] = True
    assert detection.anomaly_map[inside].mean() > 0.9
    assert detection.anomaly_map[:8].max() < 0.1
    assert detection.score == pytest.approx(np.log10(20))  # above all 19 reference frames


def test_a_normal_frame_is_normal(runner: Runner) -> None:
    detection = runner.infer(frame(normal_image(seed=77)))
    assert detection.regions == ()
    assert detection.anomaly_map.max() < 0.1
    assert 0 <= detection.score <= np.log10(20)


def test_the_detection_is_what_numpy_computes(runner: Runner, bundle: ModelBundle) -> None:
    networks = {name: network.path for name, network in bundle.networks.items()}
    reference = reference_outputs(networks, anomaly_image())
    detection = runner.infer(frame(anomaly_image()))
    sources = [reference['energy'][0, 0], reference['density'][0, 0], *reference['observer'][0]]
    logits = np.full((12, 16), FUSION['bias'])
    for values, each in zip(sources, FUSION['maps'], strict=True):
        standard = (values - each['mean']) / each['std']
        logits += each['weight'] * np.clip(standard, -10, 10)
    statistic = np.sort(logits.ravel())[-10:].mean()  # the top 5 % of 192 pixels
    assert detection.scores['object'].statistic == pytest.approx(statistic, abs=1e-4)
    for each, values in zip(FUSION['maps'], sources, strict=True):
        np.testing.assert_allclose(detection.maps[each['name']], values, atol=1e-5)
    # Pixel (4r + 1.5, 4c + 1.5) lies between map pixels, so compare a flat corner.
    corner = 1 / (1 + np.exp(-logits[:3, :3].mean()))
    assert detection.anomaly_map[4:8, 4:8].mean() == pytest.approx(corner, abs=1e-3)


def test_labels_are_published_with_void_as_unlabeled(runner: Runner, bundle: ModelBundle) -> None:
    networks = {name: network.path for name, network in bundle.networks.items()}
    labels = reference_outputs(networks, normal_image())['labels'][0]
    detection = runner.infer(frame(normal_image()))
    assert detection.labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(detection.labels, np.where(labels == 2, 255, labels))


def test_shapes_and_boxes_for_a_camera_of_another_size(runner: Runner) -> None:
    large = np.kron(anomaly_image(), np.ones((5, 3, 1), np.uint8))
    detection = runner.infer(frame(large))
    assert detection.labels.shape == detection.anomaly_map.shape == (48, 64)
    assert detection.anomaly_map.dtype == np.float32
    (region,) = detection.regions
    assert (region.x, region.y) == pytest.approx((24 * 3, 16 * 5), abs=20)
    small = runner.infer(frame(anomaly_image()))
    assert region.area == pytest.approx(small.regions[0].area * 15, rel=0.3)


def test_a_detection_does_not_change_when_the_next_frame_is_scored(runner: Runner) -> None:
    first = runner.infer(frame(anomaly_image()))
    kept = {name: values.copy() for name, values in first.maps.items()}
    labels, anomaly_map = first.labels.copy(), first.anomaly_map.copy()
    runner.infer(frame(normal_image()))
    np.testing.assert_array_equal(first.labels, labels)
    np.testing.assert_array_equal(first.anomaly_map, anomaly_map)
    for name, values in kept.items():
        np.testing.assert_array_equal(first.maps[name], values)


def test_timings_add_up(runner: Runner) -> None:
    timings = runner.infer(frame(normal_image())).timings
    assert list(timings) == ['prepare', 'inference', 'fusion', 'total']
    total = timings['prepare'] + timings['inference'] + timings['fusion']
    assert total == pytest.approx(timings['total'])
    assert min(timings.values()) > 0


def test_self_test_passes_on_every_engine(runner: Runner) -> None:
    runner.self_test()


def test_self_test_refuses_another_statistic(bundle: ModelBundle) -> None:
    normal, anomaly = bundle.selftest
    wrong = replace(anomaly, statistics={'object': anomaly.statistics['object'] + 1.0})
    with (
        Runner(replace(bundle, selftest=(normal, wrong))) as runner,
        pytest.raises(SelfTestError, match=r'anomaly\.png scores .*\(deviation 1, allowed 0\.0'),
    ):
        runner.self_test()


def test_self_test_finds_swapped_colours(bundle: ModelBundle) -> None:
    swapped = replace(bundle, color_order='bgr', atol=1e-4, rtol=1e-4)
    with Runner(swapped) as runner, pytest.raises(SelfTestError, match='deviation'):
        runner.self_test()


def test_self_test_refuses_a_image_that_is_none(bundle: ModelBundle, tmp_path: Path) -> None:
    path = tmp_path / 'normal.png'
    path.write_text('not an image')
    broken = replace(bundle, selftest=(replace(bundle.selftest[0], path=path),))
    with Runner(broken) as runner, pytest.raises(SelfTestError, match='not a readable image'):
        runner.self_test()


class BrokenEngine:
    """An engine whose outputs a test chooses."""

    description = 'broken'

    def __init__(self, outputs: dict[str, np.ndarray] | Exception) -> None:
        self.outputs = outputs

    def run(self, feeds: Any) -> dict[str, np.ndarray]:
        if isinstance(self.outputs, Exception):
            raise self.outputs
        return self.outputs

    def close(self) -> None:
        pass


@pytest.fixture
def outputs(bundle: ModelBundle) -> dict[str, np.ndarray]:
    networks = {name: network.path for name, network in bundle.networks.items()}
    return reference_outputs(networks, normal_image())


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('name', ['energy', 'density', 'observer'])
def test_invalid_numbers_are_never_a_score(
    bundle: ModelBundle, outputs: dict[str, np.ndarray], name: str, value: float
) -> None:
    outputs[name] = outputs[name].copy()
    outputs[name][0, -1, 3, 5] = value
    runner = Runner(bundle)
    runner._engine = BrokenEngine(outputs)  # type: ignore[assignment]
    with pytest.raises(RunnerError, match='1 NaN or infinite values of 192'):
        runner.infer(frame(normal_image()))


def test_an_engine_failure_is_a_runner_error(bundle: ModelBundle) -> None:
    runner = Runner(bundle)
    runner._engine = BrokenEngine(EngineError('the device is gone'))  # type: ignore[assignment]
    with pytest.raises(RunnerError, match='not scored: the device is gone'):
        runner.infer(frame(normal_image()))
    with pytest.raises(SelfTestError, match=r'normal\.png: .*the device is gone'):
        runner.self_test()


def test_an_image_that_cannot_be_prepared_is_a_runner_error(runner: Runner) -> None:
    with pytest.raises(RunnerError, match='uint8 RGB'):
        runner.infer(frame(np.zeros((4, 4), np.uint8)))


def test_only_the_fused_maps_are_needed(tmp_path: Path) -> None:
    """A bundle may watch with the energy alone."""
    single = {'maps': [fused_map('energy', 'energy', 0, -1.1, 0.5, 1.0)], 'bias': 0.0}
    networks = {'backbone': manifest()['networks']['backbone']}
    channels = {'object': channel(fusion=single)}
    path = make_tiny_bundle(tmp_path / 'energy', channels, networks=networks)
    with Runner(ModelBundle.load(path)) as runner:
        assert list(runner.infer(frame(normal_image())).maps) == ['energy']


def test_a_copied_bundle_works_elsewhere(tiny_bundle: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(tiny_bundle, tmp_path / 'robot' / 'model'))
    with Runner(ModelBundle.load(moved)) as runner:
        runner.self_test()
