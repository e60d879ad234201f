from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

from support.tiny_bundle import anomaly_image, reference_outputs

from ros2_ood_monitor.bundle.manifest import Network, Tensor
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.engines import selection
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.engines.selection import (
    available_backends,
    open_chain,
    open_engine,
)
from ros2_ood_monitor.inference.preprocessing import prepare

CPU_ENGINES = ['openvino', 'onnxruntime']


@pytest.fixture(scope='module')
def bundle(tiny_bundle: Path) -> ModelBundle:
    return ModelBundle.load(tiny_bundle)


@pytest.fixture(scope='module')
def reference(bundle: ModelBundle) -> dict[str, np.ndarray]:
    """Every tensor of the three networks by onnx's numpy implementation."""
    networks = {name: network.path for name, network in bundle.networks.items()}
    return reference_outputs(networks, anomaly_image())


@pytest.fixture(params=CPU_ENGINES)
def backend(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return request.param


@pytest.mark.parametrize('name', ['backbone', 'flow', 'observer'])
def test_each_network_gives_the_numbers_of_numpy(
    bundle: ModelBundle, reference: dict[str, np.ndarray], backend: str, name: str
) -> None:
    network = bundle.networks[name]
    engine = open_engine(network, backend)
    assert engine.inputs == network.inputs
    assert engine.outputs == network.outputs
    outputs = engine.run({tensor.name: reference[tensor.name] for tensor in network.inputs})
    assert list(outputs) == [tensor.name for tensor in network.outputs]
    for tensor in network.outputs:
        value = np.asarray(outputs[tensor.name])
        assert (value.shape, value.dtype.name) == (tensor.shape, tensor.dtype)
        np.testing.assert_allclose(value, reference[tensor.name], rtol=1e-5, atol=1e-5)
    engine.close()


def test_a_chain_takes_the_image_and_gives_only_what_is_asked_for(
    bundle: ModelBundle, reference: dict[str, np.ndarray], backend: str
) -> None:
    names = ['density', 'labels', 'observer', 'energy']
    chain = open_chain(list(bundle.networks.values()), names, backend)
    assert [tensor.name for tensor in chain.inputs] == ['image']
    assert [tensor.name for tensor in chain.outputs] == names
    outputs = chain.run({'image': reference['image']})
    assert list(outputs) == names
    for name in names:
        np.testing.assert_allclose(outputs[name], reference[name], rtol=1e-5, atol=1e-5)
    chain.close()


def test_results_follow_the_image_through_every_kind_of_memory(
    bundle: ModelBundle, reference: dict[str, np.ndarray], backend: str
) -> None:
    chain = open_chain(list(bundle.networks.values()), ['density'], backend)
    image = reference['image'].copy()

    def density(feed: np.ndarray) -> np.ndarray:
        return np.array(chain.run({'image': feed})['density'])

    anomalous = density(image)
    image[:] = 128  # the same array with other content, as a camera driver reuses its buffer
    grey = density(image)
    assert grey.max() < 0.01 < anomalous.max()
    read_only = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    np.testing.assert_array_equal(density(read_only), grey)
    np.testing.assert_array_equal(density(reference['image']), anomalous)
    strided = np.asfortranarray(reference['image'])
    np.testing.assert_array_equal(density(strided), anomalous)


@pytest.mark.parametrize(
    ('feeds', 'sentence'),
    [
        ({}, 'input image is missing'),
        ({'image': np.zeros((1, 48, 64, 3), np.float32)}, 'input image is float32'),
        ({'image': np.zeros((1, 64, 48, 3), np.uint8)}, r'takes uint8 \(1, 48, 64, 3\)'),
    ],
)
def test_wrong_feeds_are_refused(
    bundle: ModelBundle, backend: str, feeds: dict[str, np.ndarray], sentence: str
) -> None:
    engine = open_engine(bundle.networks['backbone'], backend)
    with pytest.raises(EngineError, match=sentence):
        engine.run(feeds)


def test_a_network_unlike_its_manifest_is_refused(bundle: ModelBundle, backend: str) -> None:
    flow = bundle.networks['flow']
    wrong = Network(
        flow.path, flow.sha256, (Tensor('tap1', (1, 4, 6, 8), 'float32'),), flow.outputs
    )
    with pytest.raises(EngineError, match=r'flow.onnx: its inputs .* tap1 float32'):
        open_engine(wrong, backend)


def test_a_file_that_is_no_network_is_refused(
    bundle: ModelBundle, backend: str, tmp_path: Path
) -> None:
    path = tmp_path / 'noise.onnx'
    path.write_bytes(b'not a network' * 50)
    flow = bundle.networks['flow']
    with pytest.raises(EngineError, match=r'cannot open .*noise\.onnx'):
        open_engine(Network(path, '', flow.inputs, flow.outputs), backend)


def test_auto_is_the_first_available_backend(bundle: ModelBundle) -> None:
    pytest.importorskip('openvino')
    if available_backends()[0] == 'tensorrt':
        pytest.skip('this machine has a GPU')
    assert open_engine(bundle.networks['flow']).description.startswith('OpenVINO')


def test_without_an_engine_the_extras_are_named(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, 'available_backends', list)
    with pytest.raises(EngineError, match=r"pip install '\.\[openvino\]' or '\.\[onnxruntime\]'"):
        open_engine(bundle.networks['backbone'])


def test_wrong_choices_are_refused(bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match="backend 'tflite' is unknown"):
        open_engine(bundle.networks['flow'], 'tflite')
    with pytest.raises(EngineError, match='threads is 0'):
        open_engine(bundle.networks['flow'], 'onnxruntime', threads=0)


def test_a_backend_that_is_not_installed_says_so(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(
        sys.modules, 'ros2_ood_monitor.inference.engines.onnxruntime', raising=False
    )
    with pytest.raises(EngineError, match='backend onnxruntime cannot be imported'):
        open_engine(bundle.networks['flow'], 'onnxruntime')


def test_openvino_computes_in_float32_and_calls_nobody(tiny_bundle: Path) -> None:
    pytest.importorskip('openvino')
    program = f"""
import sys
from pathlib import Path
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.engines.selection import open_engine
engine = open_engine(ModelBundle.load(Path({str(tiny_bundle)!r})).networks['backbone'], 'openvino')
model = engine._request.get_compiled_model()
print(model.get_property('INFERENCE_PRECISION_HINT').to_string())
print([name for name in sys.modules if name.startswith('openvino_telemetry.')])
"""
    result = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True, timeout=60
    )
    precision, telemetry = result.stdout.split()
    assert precision in ('f32', 'float32')
    assert telemetry == '[]'


def test_importing_the_engines_needs_neither_gpu_nor_engine_libraries() -> None:
    program = (
        'import sys\n'
        'from ros2_ood_monitor.inference.engines import cache, cuda, selection, tensorrt\n'
        'heavy = {"openvino", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "torch"}\n'
        'sys.exit(", ".join(heavy & set(sys.modules)) or 0)'
    )
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_results_are_those_of_the_prepared_image(bundle: ModelBundle, backend: str) -> None:
    """The whole path from a camera-sized image, against numpy."""
    image = np.kron(anomaly_image(), np.ones((3, 2, 1), np.uint8))
    prepared = prepare(image, bundle.width, bundle.height, bundle.color_order)
    networks = {name: network.path for name, network in bundle.networks.items()}
    expected = reference_outputs(networks, image)
    chain = open_chain(list(bundle.networks.values()), ['observer', 'labels'], backend)
    outputs = chain.run({'image': prepared})
    np.testing.assert_allclose(outputs['observer'], expected['observer'], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs['labels'], expected['labels'])
