from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

from ros2_ood_monitor.benchmarks import overhead as bench_module
from ros2_ood_monitor.benchmarks import torch_eager as torch_eager_module
from ros2_ood_monitor.benchmarks.overhead import bench, interleave
from ros2_ood_monitor.benchmarks.torch_eager import torch_eager
from ros2_ood_monitor.bundle.model_bundle import BundleError, ModelBundle
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.engines.selection import open_engine
from ros2_ood_monitor.inference.runner import SelfTestError


@pytest.fixture(params=['openvino', 'onnxruntime'])
def backend(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return request.param


def test_figures_are_complete_and_consistent(tiny_bundle: Path, backend: str) -> None:
    figures = json.loads(json.dumps(bench(tiny_bundle, backend, frames=23)))
    stages = figures['stages']
    assert set(stages) == {'prepare', 'inference', 'fusion', 'bare', 'full'}
    for percentiles in stages.values():
        assert 0 < percentiles['p50'] <= percentiles['p95'] <= percentiles['p99']
    ratio = stages['full']['p50'] / stages['bare']['p50']
    assert figures['overhead_ratio'] == pytest.approx(ratio)
    assert figures['overhead_ratio'] > 1
    assert figures['vs_torch_eager'] is None
    assert figures['input'] == [64, 48]
    assert figures['machine']['cores'] >= 1
    assert 'float32' in figures['backend']


def test_bare_segmentation_is_the_backbone_without_the_monitor(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    import onnx

    backbone = ModelBundle.load(tiny_bundle).networks['backbone']
    bare = bench_module._labels_only(backbone, tmp_path)
    operators = {node.op_type for node in onnx.load(str(bare.path)).graph.node}
    assert 'ArgMax' in operators
    assert not operators & {'ReduceLogSumExp', 'AveragePool'}
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), dtype=np.uint8)
    labels = open_engine(bare).run({'image': image})
    assert list(labels) == ['labels']
    whole = open_engine(backbone).run({'image': image})
    np.testing.assert_array_equal(labels['labels'], whole['labels'])


@pytest.fixture
def enet_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle, which says that its backbone is an ENet."""
    pytest.importorskip('torch')
    directory = tmp_path / 'bundle'
    shutil.copytree(tiny_bundle, directory)
    path = directory / 'manifest.json'
    manifest = json.loads(path.read_text())
    manifest['backbone'] = {'architecture': 'enet', 'num_classes': 3}
    path.write_text(json.dumps(manifest))
    return directory


@pytest.mark.slow
def test_against_torch_eager(enet_bundle: Path) -> None:
    figures = bench(enet_bundle, against='torch-eager', frames=7)
    stages = figures['stages']
    ratio = stages['full']['p50'] / stages['torch_eager']['p50']
    assert figures['vs_torch_eager'] == pytest.approx(ratio)
    # A few painted labels against a network of a hundred layers.
    assert ratio < 1


@pytest.mark.slow
def test_the_torch_program_times_itself(enet_bundle: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    with torch_eager(enet_bundle, threads=1) as segment:
        segment(image)
        started = time.perf_counter()
        milliseconds = segment(image)
        assert 0 < milliseconds <= (time.perf_counter() - started) * 1e3


@pytest.mark.slow
def test_the_torch_program_that_dies_is_missed_at_once(
    enet_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    with torch_eager(enet_bundle, threads=1) as segment:
        segment(image)
        with pytest.raises(EngineError, match='ended early'):
            segment(np.zeros((0, 64, 3), np.uint8))
    monkeypatch.setattr(torch_eager_module, 'PROGRAM', 'ros2_ood_monitor.no_such_program')
    with (
        pytest.raises(EngineError, match='messages are above'),
        torch_eager(enet_bundle),
    ):
        pass


def test_an_architecture_that_torch_does_not_have(tiny_bundle: Path) -> None:
    pytest.importorskip('torch')
    with pytest.raises(EngineError, match=r"torch-eager cannot run .*'tiny' is not one of"):
        bench(tiny_bundle, against='torch-eager', frames=1)


def test_contenders_take_turns_and_every_frame_counts() -> None:
    calls: list[str] = []

    def contender(name: str, image: np.ndarray) -> float:
        calls.append(name)
        return float(len(calls))

    contenders = {name: partial(contender, name) for name in ('a', 'b')}
    times = interleave(contenders, [np.zeros((2, 2, 3), np.uint8)], 12)
    assert times['a'] == [2, 3, 4, 5, 6, 20, 21, 22, 23, 24, 26, 27]
    assert len(times['b']) == 12
    # One uncounted frame opens each block of five, five and two; the order turns around.
    assert ''.join(calls) == 'aaaaaabbbbbb' + 'bbbbbbaaaaaa' + 'aaabbb'


def test_a_wrong_engine_is_not_measured(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise SelfTestError('deviation')

    monkeypatch.setattr(bench_module.Runner, 'self_test', refuse)
    with pytest.raises(SelfTestError):
        bench(tiny_bundle, frames=1)


def test_wrong_requests_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='frames is 0'):
        bench(tiny_bundle, frames=0)
    with pytest.raises(ValueError, match="against is 'jax'"):
        bench(tiny_bundle, against='jax')
    with pytest.raises(BundleError):
        bench(tmp_path)


def test_nothing_is_left_in_the_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / 'bundle'))
    before = sorted(path.name for path in copy.rglob('*'))
    bench(copy, frames=1)
    assert sorted(path.name for path in copy.rglob('*')) == before
