"""Several channels in one bundle, and networks that none of them reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

from support.fake_cuda import FakeGpu
from support.tiny_bundle import (
    DENSITY,
    FUSION,
    IMAGE,
    anomaly_image,
    channel,
    make_tiny_bundle,
    normal_image,
    reference_outputs,
)

from ros2_ood_monitor.bundle.manifest import Network, Tensor
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import Frame
from ros2_ood_monitor.inference.engines.build import build_engines
from ros2_ood_monitor.inference.engines.chain import needed_networks
from ros2_ood_monitor.inference.runner import Runner, SelfTestError

BACKENDS = ('openvino', 'onnxruntime', 'tensorrt')
WITHOUT_FLOW = [
    dict(each, weight=each['weight'] * (each['name'] != 'density')) for each in FUSION['maps']
]


@pytest.fixture(scope='module')
def two(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp('two') / 'bundle'
    make_tiny_bundle(folder, {'object': channel(), 'density': DENSITY})
    return ModelBundle.load(folder)


@pytest.fixture(scope='module')
def unread(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle whose flow has weight 0 and no channel of its own."""
    folder = tmp_path_factory.mktemp('unread') / 'bundle'
    fusion = {'maps': WITHOUT_FLOW, 'bias': -4.0}
    return ModelBundle.load(make_tiny_bundle(folder, {'object': channel(fusion=fusion)}))


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_every_channel_scores_its_own_maps(two: ModelBundle, backend: str) -> None:
    pytest.importorskip(backend)
    networks = {name: network.path for name, network in two.networks.items()}
    density = reference_outputs(networks, anomaly_image())['density'][0, 0]
    with Runner(two, backend) as runner:
        runner.self_test()
        detection = runner.infer(Frame(anomaly_image()))
    assert list(detection.scores) == ['object', 'density']
    statistic = np.sort(density.ravel())[-10:].mean()  # the top 5 % of 192 pixels
    assert detection.scores['density'].statistic == pytest.approx(statistic, rel=1e-5)
    assert detection.score == max(each.score for each in detection.scores.values())
    assert list(detection.maps) == ['energy', 'density', 'unknown', 'error']


def test_a_second_channel_changes_nothing_for_the_first(
    two: ModelBundle, tiny_bundle: Path
) -> None:
    found = []
    for bundle in (two, ModelBundle.load(tiny_bundle)):
        with Runner(bundle) as runner:
            found.append(runner.infer(Frame(anomaly_image())))
    both, alone = found
    assert both.scores['object'] == alone.scores['object']
    assert both.regions == alone.regions
    np.testing.assert_array_equal(both.anomaly_map, alone.anomaly_map)


def test_the_self_test_names_the_channel_that_deviates(two: ModelBundle) -> None:
    normal, anomaly = two.selftest
    statistics = {**anomaly.statistics, 'density': anomaly.statistics['density'] + 1}
    wrong = replace(two, selftest=(normal, replace(anomaly, statistics=statistics)))
    with (
        Runner(wrong) as runner,
        pytest.raises(SelfTestError, match=r'anomaly\.png scores \S+ for density on'),
    ):
        runner.self_test()


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_network_that_no_channel_reads_is_not_opened(
    unread: ModelBundle, backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == 'tensorrt':
        request.getfixturevalue('gpu')
    else:
        pytest.importorskip(backend)
    missing = replace(unread.networks['flow'], path=Path('nowhere.onnx'))
    without = replace(unread, networks={**unread.networks, 'flow': missing})
    with Runner(without, backend) as runner:
        runner.self_test()
        assert list(runner.infer(Frame(normal_image())).maps) == ['energy', 'unknown', 'error']


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    return gpu


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_an_evaluation_runs_them_all(unread: ModelBundle, backend: str) -> None:
    pytest.importorskip(backend)
    with Runner(unread, backend, all_maps=True) as runner:
        maps = runner.infer(Frame(normal_image())).maps
    assert list(maps) == ['energy', 'density', 'unknown', 'error']


def test_engines_are_built_for_the_networks_that_run(unread: ModelBundle) -> None:
    pytest.importorskip('tensorrt_rtx')
    lines: list[str] = []
    assert len(build_engines(unread.directory, 'tensorrt', lines.append)) == 2
    assert not any('flow.onnx' in line for line in lines)


def test_a_network_is_needed_if_a_needed_one_reads_it() -> None:
    def network(inputs: str, outputs: str) -> Network:
        tensors = [
            tuple(Tensor(name, (1,), 'float32') for name in names) for names in (inputs, outputs)
        ]
        return Network(Path(f'{inputs}{outputs}'), '', *tensors)

    chain = [network('i', 'ab'), network('a', 'c'), network('b', 'd'), network('c', 'e')]
    assert needed_networks(chain, ['e']) == [chain[0], chain[1], chain[3]]
    assert needed_networks(chain, ['d', 'a']) == [chain[0], chain[2]]
    assert needed_networks(chain, []) == []


@pytest.fixture(scope='module')
def with_image(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp('image') / 'bundle'
    return ModelBundle.load(make_tiny_bundle(folder, {'object': channel(), 'image': IMAGE}))


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_a_channel_of_whole_images_reads_its_statistics(
    with_image: ModelBundle, backend: str
) -> None:
    pytest.importorskip(backend)
    networks = {name: network.path for name, network in with_image.networks.items()}
    brightness = reference_outputs(networks, anomaly_image())['brightness'][0, 1]
    with Runner(with_image, backend) as runner:
        runner.self_test()
        detection = runner.infer(Frame(anomaly_image()))
    assert set(detection.statistics) == {'object', 'image.brightness', 'image.too_normal'}
    assert detection.statistics['image.brightness'] == pytest.approx(float(brightness), abs=1e-5)
    assert detection.statistics['image.too_normal'] == -detection.statistics['object']
    assert list(detection.scores) == ['object', 'image']


def test_an_image_too_normal_for_the_objects_is_unusual(with_image: ModelBundle) -> None:
    flat = np.full_like(normal_image(), 128)
    with Runner(with_image) as runner:
        usual, unusual = (runner.infer(Frame(each)) for each in (normal_image(3), flat))
    assert unusual.scores['object'].score <= usual.scores['object'].score
    assert unusual.scores['image'].score > 1.0 > usual.scores['image'].score


def test_the_image_channel_keeps_its_network_alive(with_image: ModelBundle) -> None:
    needed = needed_networks(list(with_image.networks.values()), with_image.needed_outputs())
    assert 'image.onnx' in [network.path.name for network in needed]
