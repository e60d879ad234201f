from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

from onnx import helper
from support.fake_cuda import FakeGpu
from support.tiny_bundle import anomaly_image, normal_image, reference_outputs, save_model, tensor

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.engines import tensorrt as engine_module
from ros2_ood_monitor.inference.engines.base import Engine, EngineError
from ros2_ood_monitor.inference.engines.build import build_engines
from ros2_ood_monitor.inference.engines.cache import cached
from ros2_ood_monitor.inference.engines.selection import available_backends, open_chain


@pytest.fixture
def writable(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / 'bundle'))


# --- building, with the real library and no GPU ---


def test_all_engines_build_without_a_gpu_and_are_cached(writable: Path) -> None:
    pytest.importorskip('tensorrt_rtx')
    lines: list[str] = []
    plans = build_engines(writable, 'tensorrt', lines.append)
    assert len(plans) == 3
    assert all(plan.parent == writable / 'engines' for plan in plans)
    assert min(plan.stat().st_size for plan in plans) > 1000
    assert lines[0] == f'building backbone.onnx: it is not in {writable / "engines"} yet'
    properties = json.loads(plans[0].with_suffix('.json').read_text())['properties']
    assert properties['onnx_sha256'] == ModelBundle.load(writable).networks['backbone'].sha256
    assert {'library', 'version', 'precision', 'shapes', 'gpu', 'driver'} <= properties.keys()
    before = [plan.stat().st_mtime_ns for plan in plans]
    lines.clear()
    assert build_engines(writable, 'tensorrt', lines.append) == plans
    assert [plan.stat().st_mtime_ns for plan in plans] == before
    assert lines == []
    assert not list((writable / 'engines').glob('.*'))


def test_a_graph_that_tensorrt_cannot_run_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Pooling with indices is what an unpooling network exports when it is not rewritten."""
    pytest.importorskip('tensorrt_rtx')
    path = tmp_path / 'pool.onnx'
    pool = helper.make_node('MaxPool', ['x'], ['y', 'i'], kernel_shape=[2, 2], strides=[2, 2])
    down = helper.make_node('Cast', ['i'], ['index'], to=1)
    half = (1, 1, 4, 4)
    outputs = [tensor('y', half), tensor('index', half)]
    save_model(path, [pool, down], [tensor('x', (1, 1, 8, 8))], outputs)
    with pytest.raises(EngineError, match=r'cannot parse .*pool\.onnx: .*outputs for MaxPool'):
        engine_module.build_engine(path, tmp_path / 'pool.plan')
    assert not (tmp_path / 'pool.plan').exists()


def test_cpu_backends_have_nothing_to_build(tiny_bundle: Path) -> None:
    lines: list[str] = []
    assert build_engines(tiny_bundle, 'openvino', lines.append) == []
    assert lines == ['openvino compiles the networks when it opens them; nothing to build']


# --- the cache ---

PROPERTIES = {'network': 'flow.onnx', 'version': '10.1', 'gpu': 'A'}


def write_plan(path: Path) -> None:
    path.write_bytes(b'plan')


def refuse_to_build(path: Path) -> None:
    pytest.fail('the cached engine should have been used')


def test_a_changed_property_rebuilds_and_says_why(tmp_path: Path) -> None:
    lines: list[str] = []
    first = cached(tmp_path, PROPERTIES, write_plan, lines.append)
    assert cached(tmp_path, PROPERTIES, refuse_to_build) == first
    lines.clear()
    second = cached(tmp_path, {**PROPERTIES, 'version': '10.2'}, write_plan, lines.append)
    assert second != first
    assert lines[0] == (
        'building flow.onnx: what is stored does not fit: version was 10.1 and is 10.2'
    )


@pytest.mark.parametrize('damage', ['plan', 'sidecar', 'no sidecar'])
def test_a_damaged_cache_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    plan = cached(tmp_path, PROPERTIES, write_plan)
    sidecar = plan.with_suffix('.json')
    if damage == 'plan':
        plan.write_bytes(b'pla')
    elif damage == 'sidecar':
        sidecar.write_text('{"prop')
    else:
        sidecar.unlink()
    lines: list[str] = []
    assert cached(tmp_path, PROPERTIES, write_plan, lines.append) == plan
    assert ('is not in' if damage == 'no sidecar' else 'damaged or incomplete') in lines[0]
    assert plan.read_bytes() == b'plan'
    assert cached(tmp_path, PROPERTIES, refuse_to_build) == plan


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b'half')
        raise EngineError('out of memory')

    with pytest.raises(EngineError, match='out of memory'):
        cached(tmp_path, PROPERTIES, fail)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / 'engines').write_text('a file where the folder should be')
    with pytest.raises(EngineError, match=r'cannot be stored in .*make that folder writable'):
        cached(tmp_path / 'engines', PROPERTIES, write_plan)


# --- running, on a fake GPU ---


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    return gpu


@pytest.fixture
def chain(gpu: FakeGpu, writable: Path) -> Iterator[Engine]:
    networks = list(ModelBundle.load(writable).networks.values())
    chain = open_chain(networks, ['labels', 'energy', 'density', 'observer'], 'tensorrt')
    yield chain
    chain.close()


def expected(writable: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    networks = ModelBundle.load(writable).networks
    return reference_outputs({name: network.path for name, network in networks.items()}, image)


def test_only_the_image_goes_up_and_only_the_results_come_down(
    chain: Engine, gpu: FakeGpu, writable: Path
) -> None:
    for image in (normal_image(), anomaly_image()):
        reference = expected(writable, image)
        gpu.copies.clear()
        outputs = chain.run({'image': image[np.newaxis]})
        assert gpu.copies == [f'up {image.nbytes}']
        for name, value in outputs.items():
            np.testing.assert_allclose(np.asarray(value), reference[name], rtol=1e-6)
        assert [copy.split()[0] for copy in gpu.copies] == ['up', *['down'] * 4]


def test_a_run_needs_no_look_at_the_results_of_the_one_before(
    chain: Engine, writable: Path
) -> None:
    chain.run({'image': normal_image()[np.newaxis]})
    outputs = chain.run({'image': anomaly_image()[np.newaxis]})
    reference = expected(writable, anomaly_image())
    np.testing.assert_allclose(np.asarray(outputs['density']), reference['density'], rtol=1e-6)


def test_a_copy_survives_the_next_run(chain: Engine) -> None:
    first = np.array(chain.run({'image': normal_image()[np.newaxis]})['density'])
    kept = first.copy()
    np.asarray(chain.run({'image': anomaly_image()[np.newaxis]})['density'])
    np.testing.assert_array_equal(first, kept)


def test_another_thread_is_refused(chain: Engine) -> None:
    errors: list[Exception] = []

    def run() -> None:
        try:
            chain.run({'image': normal_image()[np.newaxis]})
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert 'belongs to the thread that opened it' in str(errors[0])


def test_a_cuda_error_is_reported_and_then_refused_for_good(gpu: FakeGpu, writable: Path) -> None:
    networks = list(ModelBundle.load(writable).networks.values())
    chain = open_chain(networks, ['density'], 'tensorrt')
    outputs = chain.run({'image': normal_image()[np.newaxis]})
    gpu.broken = True
    with pytest.raises(EngineError, match=r'illegal memory access.*restart the process'):
        np.asarray(outputs['density'])
    gpu.broken = False  # sticky all the same
    with pytest.raises(EngineError, match=r'illegal memory access.* earlier; restart the process'):
        chain.run({'image': normal_image()[np.newaxis]})
    chain.close()
    assert gpu.contexts == 0


def test_closing_gives_everything_back(gpu: FakeGpu, writable: Path) -> None:
    networks = list(ModelBundle.load(writable).networks.values())
    for _ in range(2):
        chain = open_chain(networks, ['density'], 'tensorrt')
        np.asarray(chain.run({'image': normal_image()[np.newaxis]})['density'])
        assert gpu.contexts == 1
        chain.close()
        assert gpu.contexts == 0
        assert gpu.memory == {}


def test_a_plan_that_does_not_load_gives_the_library_s_reason(
    gpu: FakeGpu, writable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        engine_module, 'build_engine', lambda _, plan: plan.write_text('/no/such/network')
    )
    networks = list(ModelBundle.load(writable).networks.values())
    with pytest.raises(EngineError, match='magic tag does not match; delete the file'):
        open_chain(networks, ['density'], 'tensorrt')
    assert gpu.contexts == 0


def test_a_gpu_makes_tensorrt_the_first_choice(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ros2_ood_monitor.inference.engines import selection

    assert gpu
    monkeypatch.setattr(selection, 'find_spec', lambda name: name)
    assert available_backends()[0] == 'tensorrt'


def test_without_pycuda_opening_says_what_to_install(
    writable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    monkeypatch.setitem(sys.modules, 'pycuda.driver', None)
    networks = list(ModelBundle.load(writable).networks.values())
    pytest.importorskip('tensorrt_rtx')
    with pytest.raises(EngineError, match='pycuda is not installed'):
        open_chain(networks, ['density'], 'tensorrt')
