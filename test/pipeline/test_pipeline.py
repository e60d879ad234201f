"""The whole path on miniature images: train all stages, export, run on every engine."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.inference.engines.selection import available_backends
from ros2_ood_monitor.inference.runner import Runner, SelfTestError, stored_frame

pytestmark = pytest.mark.slow
pytest.importorskip('torch')
from offline_training.detectors.fused import monitor as fused  # noqa: E402
from offline_training.detectors.fused.monitor import Monitor  # noqa: E402
from offline_training.pipeline.config_file import load_config  # noqa: E402
from offline_training.pipeline.context import Context, choose_device  # noqa: E402
from offline_training.pipeline.fitted import load_fitted  # noqa: E402
from offline_training.train import main  # noqa: E402

TINY = [
    '--data.train_samples', '10', '--data.val_samples', '4',
    '--input.width', '96', '--input.height', '64',
    '--backbone.epochs', '1', '--backbone.validate_every', '1',
    '--flow.epochs', '1', '--observer.epochs', '1', '--observer.batch_size', '4',
    '--observer.attack_share', '0.5', '--calibration.clips', '2',
    '--calibration.block_seconds', '0.5', '--export.tensorrt', 'never',
    '--export.examined_views', '1',
]  # fmt: skip


@pytest.fixture(scope='module', params=['espnet', 'enet'])
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    output = tmp_path_factory.mktemp('run')
    config = tmp_path_factory.mktemp('config') / 'tiny.yaml'
    config.write_text(
        'backbone:\n  phases:\n  - {share: 1.0, crop_width: 96, crop_height: 64, batch_size: 4}\n'
    )
    options = ['--backbone.architecture', request.param, *TINY]
    assert main(['--config', str(config), '--output', str(output), *options]) == 0
    return output


@pytest.fixture(scope='module')
def bundle(run: Path) -> ModelBundle:
    return ModelBundle.load(run / 'bundle')


def test_bundle_carries_all_that_was_calibrated(bundle):
    assert list(bundle.networks) == ['backbone', 'flow', 'observer', 'image_channel']
    assert len(bundle.selftest) == 2
    channel = bundle.channels['object']
    assert min(each.weight for each in channel.fusion.maps) >= 0
    # Two clips certify nothing, and it says so.
    assert not bundle.certified
    assert channel.regions.sensitive_threshold <= channel.regions.threshold
    # Of two rules one is slower; two of the same drift would be one rule.
    for own in bundle.channels.values():
        assert len({alarm.drift for alarm in own.alarms}) == len(own.alarms)
    assert bundle.channels['image'].cause == 'unusual_image'
    read = {each.tensor for each in bundle.needed_maps()}
    assert {'density', 'observer'} <= read, 'a network that nothing reads'
    card = (bundle.directory / 'MODEL_CARD.md').read_text()
    assert 'not a certified safety function' in card
    assert {row.kind for row in bundle.cannot_see} == {
        'perturbation',
        'camera',
        'object',
        'normal',
    }
    assert '## What it cannot see' in card
    for name in bundle.channels:
        assert f'| {name} | ' in card
    budgets = [own.certificate.budget_per_hour for own in bundle.channels.values()]
    assert sum(budgets) == pytest.approx(1.0)
    assert 'UNCERTIFIED' in card
    gates = bundle.provenance['gates']
    assert all(gate['parity_error'] < 1e-3 for gate in gates.values())


@pytest.mark.parametrize('backend', [b for b in available_backends() if b != 'tensorrt'])
def test_every_engine_gives_what_torch_gives(run, bundle, backend):
    config = load_config(run / 'config.yaml', [])
    context = Context(config, run, choose_device('cpu'))
    monitor, watched = load_fitted(Monitor, context), context.watched()
    with Runner(bundle, backend, threads=1, all_maps=True) as runner:
        runner.self_test()
        for stored in bundle.selftest:
            frame = stored_frame(stored)
            (expected,) = monitor.stream(watched, [frame.image])
            actual = runner.infer(frame).maps
            for name, value in expected.items():
                np.testing.assert_allclose(actual[name], value, rtol=1e-3, atol=2e-3)


def test_self_test_refuses_another_calibration(run, bundle, tmp_path):
    import shutil

    from ros2_ood_monitor.bundle.model_bundle import file_sha256

    copy = tmp_path / 'bundle'
    shutil.copytree(bundle.directory, copy)
    manifest = json.loads((copy / 'manifest.json').read_text())
    manifest['channels']['object']['fusion']['bias'] += 3
    (copy / 'manifest.json').write_text(json.dumps(manifest))
    assert file_sha256(copy / 'backbone.onnx') == bundle.networks['backbone'].sha256
    with Runner(ModelBundle.load(copy), threads=1) as runner, pytest.raises(SelfTestError):
        runner.self_test()


def test_resume_repeats_nothing_and_changed_settings_rerun_their_stages(run, capsys):
    before = (run / 'observer.safetensors').stat().st_mtime_ns
    config = str(run / 'config.yaml')
    assert main(['--config', config, '--output', str(run), '--resume']) == 0
    assert (run / 'observer.safetensors').stat().st_mtime_ns == before
    changed = ['--calibration.min_area', '7']
    assert main(['--config', config, '--output', str(run), '--resume', *changed]) == 0
    assert (run / 'observer.safetensors').stat().st_mtime_ns == before
    assert ModelBundle.load(run / 'bundle').regions.min_area == 7


def test_tensorrt_builds_all_networks_without_a_gpu(bundle):
    pytest.importorskip('tensorrt_rtx', reason='tensorrt-rtx is not installed')
    from ros2_ood_monitor.inference.engines.build import build_engines

    plans = build_engines(bundle.directory, 'tensorrt')
    assert len(plans) == len(bundle.networks)
    assert all(plan.stat().st_size > 1000 for plan in plans)


def test_a_flow_that_the_fusion_does_without_is_a_channel_of_its_own(run, monkeypatch):
    fit = fused.fit_fusion

    def without_flow(*arguments):
        fusion = fit(*arguments)
        weights = {'energy': 0.0, 'density': 0.0, 'unknown': 1.0, 'error': 0.5}
        return replace(
            fusion, maps=tuple(replace(each, weight=weights[each.name]) for each in fusion.maps)
        )

    monkeypatch.setattr(fused, 'fit_fusion', without_flow)
    options = ['--calibration.seed', '2']
    assert (
        main(['--config', str(run / 'config.yaml'), '--output', str(run), '--resume', *options])
        == 0
    )
    bundle = ModelBundle.load(run / 'bundle')
    assert list(bundle.channels) == ['object', 'density', 'image']
    own = bundle.channels['density']
    assert [(each.name, each.weight) for each in own.fusion.maps] == [('density', 1.0)]
    assert own.regions is None
    # A fifth of the hourly alarm for each channel and the regions of each look.
    budgets = {name: each.certificate.budget_per_hour for name, each in bundle.channels.items()}
    assert budgets == pytest.approx({'object': 0.6, 'density': 0.2, 'image': 0.2})
    assert bundle.needed_outputs() == ['labels', 'observer', 'density', 'image_statistics']
    with Runner(bundle, threads=1) as runner:
        runner.self_test()
        detection = runner.infer(stored_frame(bundle.selftest[0]))
    assert list(detection.scores) == ['object', 'density', 'image']
