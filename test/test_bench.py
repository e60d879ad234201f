from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip('onnx')

from ros2_ood_monitor import bench as bench_module
from ros2_ood_monitor.bench import bench, interleave
from ros2_ood_monitor.bundle import BundleError, ModelBundle
from ros2_ood_monitor.detector import SelfTestError
from ros2_ood_monitor.engines.selection import open_engine


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


def test_against_torch_eager(
    tiny_bundle: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip('torch')
    asked: list[dict[str, object]] = []
    seen: list[tuple[int, ...]] = []

    class Slow(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, pixels: object) -> object:
            seen.append(tuple(pixels.shape))
            time.sleep(0.02)
            return torch.zeros(1, 3, 48, 64)

    def build_backbone(**arguments: object) -> object:
        asked.append(arguments)
        return Slow()

    stand_in = ModuleType('offline_training.backbones')
    stand_in.build_backbone = build_backbone  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'offline_training.backbones', stand_in)
    figures = bench(tiny_bundle, backend, against='torch-eager', frames=7)
    assert asked == [{'architecture': 'tiny', 'num_classes': 3}]
    assert set(seen) == {(1, 3, 48, 64)}
    assert figures['stages']['torch_eager']['p50'] > 20
    assert 0 < figures['vs_torch_eager'] < 1


def test_contenders_take_turns_and_every_frame_counts() -> None:
    calls: list[str] = []
    contenders = {name: (lambda image, name=name: calls.append(name)) for name in ('a', 'b')}
    times = interleave(contenders, [np.zeros((2, 2, 3), np.uint8)], 12)
    assert {name: len(values) for name, values in times.items()} == {'a': 12, 'b': 12}
    # One uncounted frame opens each block of five, five and two; the order turns around.
    assert ''.join(calls) == 'aaaaaabbbbbb' + 'bbbbbbaaaaaa' + 'aaabbb'


def test_a_wrong_engine_is_not_measured(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise SelfTestError('deviation')

    monkeypatch.setattr(bench_module.Detector, 'self_test', refuse)
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
