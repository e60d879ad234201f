"""A bundle that was exported once must load for ever and give the same numbers.

`bundle_schema_1` was written by version 0.1, and its outputs on ONNX Runtime were stored then in
`bundle_schema_1.npz`. `bundle_schema_2` holds the same networks, with a second channel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.inference.runner import Runner, stored_frame

GOLDEN = Path(__file__).parents[1] / 'golden'


def detections(name: str, backend: str) -> dict[str, Detection]:
    bundle = ModelBundle.load(GOLDEN / name)
    with Runner(bundle, backend, threads=1, all_maps=True) as runner:
        runner.self_test()
        return {each.path.stem: runner.infer(stored_frame(each)) for each in bundle.selftest}


@pytest.fixture(params=['openvino', 'onnxruntime'])
def backend(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return request.param


def test_schema_1_is_one_channel_that_reads_the_old_maps() -> None:
    bundle = ModelBundle.load(GOLDEN / 'bundle_schema_1')
    (channel,) = bundle.channels.values()
    assert list(bundle.channels) == ['object']
    assert [(each.name, each.tensor, each.channel) for each in channel.fusion.maps] == [
        ('energy', 'energy', 0),
        ('density', 'density', 0),
        ('unknown', 'observer', 0),
        ('error', 'observer', 1),
    ]
    certificate = channel.certificate
    assert (certificate.frame_rate, certificate.certified_per_hour) == (10.0, 1.0)
    assert certificate.sequences is certificate.hours is None


def test_version_0_1_gave_the_same_numbers(backend: str) -> None:
    stored = np.load(GOLDEN / 'bundle_schema_1.npz', allow_pickle=False)
    for name, found in detections('bundle_schema_1', backend).items():
        np.testing.assert_array_equal(found.labels, stored[f'{name}.labels'])
        np.testing.assert_allclose(found.anomaly_map, stored[f'{name}.anomaly_map'], atol=1e-5)
        score = found.scores['object']
        assert score.statistic == pytest.approx(float(stored[f'{name}.statistic']), abs=1e-5)
        assert score.score == pytest.approx(float(stored[f'{name}.score']), abs=1e-5)
        for key, values in found.maps.items():
            np.testing.assert_allclose(values, stored[f'{name}.maps.{key}'], atol=1e-5)


def test_both_schemas_give_the_same_numbers(backend: str) -> None:
    old, new = (detections(f'bundle_schema_{schema}', backend) for schema in (1, 2))
    assert old.keys() == new.keys() == {'normal', 'anomaly'}
    for name in old:
        assert new[name].scores.keys() == {'object', 'density'}
        assert new[name].scores['object'] == old[name].scores['object']
        assert new[name].regions == old[name].regions
        np.testing.assert_array_equal(new[name].anomaly_map, old[name].anomaly_map)
        for key, values in old[name].maps.items():
            np.testing.assert_array_equal(new[name].maps[key], values)
