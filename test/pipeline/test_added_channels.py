"""Any exportable detector becomes a channel of a bundle when the configuration says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.channels import some_channel

from offline_training.detectors import DETECTORS
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.added_channels import build_added
from offline_training.pipeline.config import Config
from offline_training.train import main
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.bundle.manifest import Alarm
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import Frame, Header, Stamp
from ros2_ood_monitor.inference.engines.selection import available_backends
from ros2_ood_monitor.inference.runner import Runner, stored_frame
from ros2_ood_monitor.supervision.clock import ManualClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.state_machine import Supervisor

SYSTEMS: dict[str, dict[str, Any]] = {
    'residual_flow': {},
    'larem': {'block_size': 2},
    'lared': {'block_size': 2},
    'daain': {},
    'dense_flow': {'channels': 8, 'layers': 2, 'hidden': 8, 'epochs': 1},
    'obsnet': {'epochs': 12},
}
"""One detector of each of the five systems at least."""
CONFIG = """
backbone:
  epochs: 1
  validate_every: 1
  phases:
  - {share: 1.0, crop_width: 96, crop_height: 64, batch_size: 4}
channels: %s
"""
OPTIONS = [
    '--data.train_samples', '16', '--data.val_samples', '4',
    '--input.width', '96', '--input.height', '64',
    '--flow.epochs', '1', '--observer.epochs', '1', '--observer.batch_size', '4',
    '--observer.attack_share', '0', '--image.degraded_frames', '2', '--calibration.clips', '2',
    '--calibration.block_seconds', '0.5', '--export.tensorrt', 'never',
    '--export.examined_views', '0',
]  # fmt: skip


def strange(image: np.ndarray) -> list[np.ndarray]:
    """Return images that no road shows: noise, negative, stripes, halves swapped, glare, gloom."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, image.shape).astype(np.uint8)
    stripes = np.where(np.arange(image.shape[1])[None, :, None] % 8 < 4, 250, noise // 4)
    swapped = np.roll(image, image.shape[0] // 2, axis=0)
    glare, gloom = 200 + noise // 8, noise // 8
    others = [255 - image, stripes, swapped, image[::-1], glare, gloom]
    return [noise, *(np.ascontiguousarray(each, np.uint8) for each in others)]


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp('added')
    config = folder / 'added.yaml'
    config.write_text(CONFIG % SYSTEMS)
    torch.manual_seed(0)
    assert main(['--config', str(config), '--output', str(folder / 'run'), *OPTIONS]) == 0
    return ModelBundle.load(folder / 'run' / 'bundle')


@pytest.mark.slow
def test_every_system_is_a_channel_of_the_bundle(bundle: ModelBundle) -> None:
    assert set(SYSTEMS) <= set(bundle.channels)
    read = set(bundle.needed_outputs())
    assert {'residual_flow_frame', 'larem_frame', 'lared_frame', 'daain_frame'} <= read
    budgets = [each.certificate.budget_per_hour for each in bundle.channels.values()]
    assert sum(budgets) == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize('backend', [b for b in available_backends() if b != 'tensorrt'])
def test_every_engine_gives_the_same_scores(bundle: ModelBundle, backend: str) -> None:
    with Runner(bundle, backend, threads=1) as runner:
        runner.self_test()  # the stored statistics are those of torch


@pytest.mark.slow
def test_tensorrt_builds_them(bundle: ModelBundle) -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt-rtx is not installed')
    from ros2_ood_monitor.inference.engines.build import build_engines

    assert len(build_engines(bundle.directory, 'tensorrt')) == len(bundle.networks)


@pytest.mark.slow
@pytest.mark.parametrize('name', SYSTEMS)
def test_each_raises_its_alarm(bundle: ModelBundle, name: str) -> None:
    channels = {
        'object': some_channel(Alarm(1e6, 1e6)),
        name: bundle.channels[name],
    }
    clock = ManualClock(10**9)
    supervisor = Supervisor('front', SupervisionConfig(), clock)
    supervisor.set_phase('loading')
    supervisor.arm(channels)
    supervisor.set_phase('ready')
    normal = stored_frame(bundle.selftest[0]).image
    with Runner(bundle, threads=1) as runner:
        found = [runner.infer(Frame(image)) for image in strange(normal)]
    # These detectors learned from sixteen images; each finds some of what is strange.
    detection = max(found, key=lambda each: each.scores[name].score)
    for number in range(60):
        clock.advance_to(clock.now_ns() + 66_000_000)
        supervisor.received(clock.now_ns())
        header = Header(Stamp(number + 1, 0), 'camera')
        supervisor.accepted(detection, header, clock.now_ns())
    state, causes = supervisor.decision()
    assert state == State.ALERT
    alarm = next(cause for cause in causes if cause.code == 'unknown_view')
    assert f'of the channel {name}' in alarm.text


@pytest.mark.parametrize(
    ('channels', 'fault'),
    [
        ({'residual_flaw': {}}, "did you mean 'residual_flow'"),
        ({'monitor': {}}, 'every bundle has'),
        ({'mc_dropout': {}}, 'cannot run on a robot'),
        ({'larem': {'tab': 'level2'}}, r'channels\.larem'),
    ],
)
def test_what_cannot_be_a_channel_is_refused(channels: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        build_added(Config(channels=channels))


def test_settings_reach_the_detector() -> None:
    built = build_added(Config(channels={'larem': {'tap': 'level2'}}))
    assert isinstance(built['larem'], DETECTORS['larem'])
    assert built['larem'].settings['tap'] == 'level2'


def test_an_added_channel_is_read_from_yaml(tmp_path: Path) -> None:
    from offline_training.pipeline.config_file import load_config

    path = tmp_path / 'a.yaml'
    path.write_text('channels: {larem: {tap: level2}, residual_flow: {}}\n')
    assert load_config(path, []).channels == {'larem': {'tap': 'level2'}, 'residual_flow': {}}
