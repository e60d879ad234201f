"""The command `ood-monitor` as a person meets it: help, errors, exit codes."""

from __future__ import annotations

import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from ros2_ood_monitor.cli import COMMANDS, EPILOG, build_parser, main
from ros2_ood_monitor.commands import run
from ros2_ood_monitor.commands.examination import SOCKET_BUFFER, Finding, Status, able, examine

ROOT = Path(__file__).resolve().parents[2]
DOMAIN_ID = 193  # to 195; no other test uses them


def sentence(capsys) -> str:
    """Return the one line on standard error, which must be all that was printed there."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: command.NAME)
def test_help_teaches_by_example_within_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    with pytest.raises(SystemExit) as end:
        main([command.NAME, '--help'])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f'ood-monitor {command.NAME}' in text.partition('examples:')[2]
    assert max(map(len, text.splitlines())) <= 80


def test_help_lists_every_command(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    with pytest.raises(SystemExit):
        main(['--help'])
    text = capsys.readouterr().out
    assert all(command.SUMMARY[:30] in text for command in COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


def test_examples_are_accepted_by_the_parser():
    """What the help shows must be typeable; only the parser is asked, nothing is run."""
    texts = [command.EXAMPLES for command in COMMANDS]
    texts += [EPILOG, (ROOT / 'README.md').read_text(encoding='utf-8')]
    typed = [line.partition('>')[0].split() for text in texts for line in text.splitlines()]
    typed = [words for words in typed if words[:1] == ['ood-monitor']]
    assert len(typed) > 15
    for words in typed:
        words = words[: words.index('#')] if '#' in words else words
        if '--help' not in words:
            assert build_parser().parse_args(words[1:]).command == words[1]


@pytest.mark.parametrize(
    'arguments',
    [
        ['run', '--bundle', 'MISSING'],
        ['replay', '--bundle', 'MISSING', 'synthetic', '--output', 'out'],
        ['bench', '--bundle', 'MISSING'],
        ['build-engines', '--bundle', 'MISSING'],
    ],
)
def test_missing_bundle_is_one_sentence_and_exit_code_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = sentence(capsys)
    assert message.startswith(f'ood-monitor {arguments[0]}: ')
    assert 'MISSING' in message
    assert list(tmp_path.iterdir()) == []


def test_altered_bundle_is_refused_with_its_file_named(tiny_bundle, tmp_path, capsys):
    bundle = tmp_path / 'bundle'
    shutil.copytree(tiny_bundle, bundle)
    with open(bundle / 'flow.onnx', 'ab') as file:
        file.write(b'!')
    words = ['replay', '--bundle', str(bundle), 'synthetic', '--output', str(tmp_path / 'out')]
    assert main(words) == 2
    assert 'flow.onnx' in sentence(capsys)


def test_missing_source_is_one_sentence(tiny_bundle, tmp_path, capsys):
    code = main(
        ['replay', '--bundle', str(tiny_bundle), str(tmp_path / 'none'), '--output', str(tmp_path)]
    )
    assert code == 2
    assert 'none' in sentence(capsys)


def test_unknown_key_of_a_configuration_is_named(tiny_bundle, tmp_path, capsys):
    config = tmp_path / 'monitor.yaml'
    config.write_text('/**:\n  ros__parameters:\n    supervision:\n      stale_after: 0.3\n')
    assert main(['run', '--bundle', str(tiny_bundle), '--config', str(config)]) == 2
    message = sentence(capsys)
    assert 'stale_after' in message
    assert str(config) in message


def test_mistyped_command_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        main(['rnu'])
    assert end.value.code == 2


def test_defect_keeps_its_traceback(monkeypatch):
    """Only errors meant for the user become a sentence; a defect must not look like one."""
    from ros2_ood_monitor.commands import examination as doctor

    def broken() -> None:
        raise ValueError('defect')

    monkeypatch.setattr(doctor, 'examine', broken)
    with pytest.raises(ValueError, match='defect'):
        main(['doctor'])


def test_missing_extra_is_named(monkeypatch, capsys):
    from ros2_ood_monitor.commands import examination as doctor

    def absent() -> None:
        raise ModuleNotFoundError("No module named 'cyclonedds'", name='cyclonedds')

    monkeypatch.setattr(doctor, 'examine', absent)
    assert main(['doctor']) == 2
    assert "pip install '.[dds]'" in sentence(capsys)


@pytest.mark.parametrize('columns', ['80', '200'])
@pytest.mark.parametrize('absent', [(), ('cyclonedds', 'mcap', 'openvino', 'torch', 'onnx')])
def test_doctor_prints_within_80_columns(tiny_bundle, capsys, monkeypatch, columns, absent):
    monkeypatch.setenv('COLUMNS', columns)
    hide(monkeypatch, *absent)
    assert main(['doctor', '--bundle', str(tiny_bundle)]) in (0, 1)
    text = capsys.readouterr().out
    assert 'net.core.rmem_max' in text
    assert max(map(len, text.splitlines())) <= 80


def test_doctor_says_what_is_lost_without_an_extra(capsys, monkeypatch):
    hide(monkeypatch, 'mcap', 'cyclonedds', 'onnxscript')
    main(['doctor'])
    text = ' '.join(capsys.readouterr().out.split())
    assert 'not installed: no replay, no black box' in text
    assert 'no play, watch' in text
    assert 'missing: onnxscript' in text


def test_doctor_looks_for_the_training_side_without_importing_it():
    script = (
        'import sys; from ros2_ood_monitor.commands.examination import TRAINING, examine; '
        'examine(); assert not {*TRAINING, "offline_training"} & set(sys.modules) - {"scipy"}, '
        '{*TRAINING, "offline_training"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', script], check=True)


def hide(monkeypatch, *names: str) -> None:
    """Let modules look as if they were not installed."""
    for loaded in [key for key in sys.modules if key.partition('.')[0] in names]:
        monkeypatch.delitem(sys.modules, loaded)

    def but(finder: Any) -> Any:
        def find_spec(name: str, *rest: Any) -> Any:
            return None if name.partition('.')[0] in names else finder.find_spec(name, *rest)

        return SimpleNamespace(find_spec=find_spec)

    monkeypatch.setattr(sys, 'meta_path', [but(finder) for finder in sys.meta_path])


def test_doctor_names_the_remedy_of_a_small_socket_buffer(tmp_path):
    limit = tmp_path / 'rmem_max'
    limit.write_text('212992\n')
    (finding,) = [one for one in examine(limit) if one.name == 'net.core.rmem_max']
    assert finding.status is Status.MISSING
    assert finding.advice == f'sudo sysctl -w net.core.rmem_max={SOCKET_BUFFER}'
    limit.write_text(f'{SOCKET_BUFFER}\n')
    (finding,) = [one for one in examine(limit) if one.name == 'net.core.rmem_max']
    assert finding.status is Status.OK


@pytest.mark.parametrize(
    ('installed', 'sourced', 'ros'),
    [
        (('rclpy', 'cyclonedds'), True, True),
        (('rclpy', 'cyclonedds'), False, False),
        (('rclpy',), False, True),
        (('cyclonedds',), True, False),
        ((), False, False),
    ],
)
def test_run_takes_rclpy_of_a_sourced_ros_else_dds(monkeypatch, installed, sourced, ros):
    monkeypatch.setattr(
        run.importlib.util, 'find_spec', lambda name: object() if name in installed else None
    )
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    if sourced:
        monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    assert run.prefers_ros() is ros


@pytest.mark.parametrize(
    ('engine', 'middleware', 'fit'),
    [('ok', 'ok', True), ('optional', 'ok', False), ('ok', 'optional', False)],
)
def test_monitor_needs_an_engine_and_a_middleware(engine, middleware, fit):
    findings = [
        Finding('core', 'numpy', Status.OK, ''),
        Finding('engine', 'openvino', Status(engine), ''),
        Finding('engine', 'tensorrt', Status.OPTIONAL, ''),
        Finding('middleware', 'cyclonedds', Status(middleware), ''),
    ]
    assert able(findings) is fit


def test_doctor_tests_a_bundle_with_every_engine(tiny_bundle, capsys):
    assert main(['doctor', '--bundle', str(tiny_bundle)]) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert 'self-test passed' in text
    assert 'UNCERTIFIED' in text


def test_a_certified_bundle_that_no_engine_can_run_is_not_fit(tiny_bundle, monkeypatch, capsys):
    from ros2_ood_monitor.inference.runner import Runner, SelfTestError

    def failed(_: Runner) -> None:
        raise SelfTestError('another score')

    monkeypatch.setattr(Runner, 'self_test', failed)
    monkeypatch.setattr('ros2_ood_monitor.bundle.certification.uncertified', lambda _: None)
    assert main(['doctor', '--bundle', str(tiny_bundle)]) == 1
    assert 'certified' in capsys.readouterr().out


def test_run_refuses_an_uncertified_bundle_where_a_certified_one_is_required(
    tiny_bundle, tmp_path, capsys
):
    config = tmp_path / 'monitor.yaml'
    config.write_text('/**:\n  ros__parameters:\n    require_certified: true\n')
    words = ['run', '--bundle', str(tiny_bundle), '--config', str(config)]
    assert main([*words, '--middleware', 'dds', '--domain-id', str(DOMAIN_ID + 2)]) == 2
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith('ood-monitor run: refused, because require_certified is set')
    assert "run 'ood-monitor calibrate' on 5 or more sequences" in refusal


def test_parameter_page_is_the_one_in_the_repository(capsys):
    assert main(['parameters', '--markdown']) == 0
    assert capsys.readouterr().out == (ROOT / 'docs/parameters.md').read_text(encoding='utf-8')


def test_parameter_file_is_the_one_in_the_repository(capsys):
    assert main(['parameters', '--yaml']) == 0
    assert capsys.readouterr().out == (ROOT / 'config/monitor.yaml').read_text(encoding='utf-8')


def test_parameter_table_names_every_parameter(capsys, monkeypatch):
    from ros2_ood_monitor.parameters import PARAMETERS

    monkeypatch.setenv('COLUMNS', '80')
    assert main(['parameters']) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in PARAMETERS)


def test_run_ends_cleanly_on_ctrl_c_with_a_last_alert(tiny_bundle):
    from ros2_ood_monitor.bus.dds import DdsMiddleware
    from ros2_ood_monitor.node.watcher import watch

    monitor = subprocess.Popen(
        [
            sys.executable,
            '-m',
            'ros2_ood_monitor',
            'run',
            '--bundle',
            str(tiny_bundle),
            '--middleware',
            'dds',
            '--domain-id',
            str(DOMAIN_ID),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    listener = DdsMiddleware('listener', domain_id=DOMAIN_ID)
    stop = threading.Event()
    asked = False
    try:
        for alert in watch(listener, stop, silence_s=60):
            assert alert is not None
            assert alert.state.unsafe  # no camera: never safe
            codes = {cause.code for cause in alert.causes}
            if not asked and not codes & {'inactive', 'loading'}:
                asked = True
                monitor.send_signal(signal.SIGINT)
            if 'stopped' in codes:
                break
        assert monitor.wait(10) == 0
        said = monitor.communicate()[1]
        assert 'Traceback' not in said
        assert [line for line in said.splitlines() if 'the bundle tiny is UNCERTIFIED' in line]
    finally:
        listener.close()
        monitor.kill()


def test_played_images_arrive_as_camera_images(tmp_path):
    from ros2_ood_monitor.bus.dds import DdsMiddleware
    from ros2_ood_monitor.frame import RawImage
    from ros2_ood_monitor.messages.topics import camera_input

    cv2.imwrite(str(tmp_path / 'one.png'), np.full((48, 64, 3), (255, 0, 0), np.uint8))
    listener = DdsMiddleware('listener', domain_id=DOMAIN_ID + 1)
    received: queue.SimpleQueue[RawImage] = queue.SimpleQueue()
    listener.subscribe(camera_input('camera/image_raw'), received.put)
    player = subprocess.Popen(
        [
            sys.executable,
            '-m',
            'ros2_ood_monitor',
            'play',
            str(tmp_path),
            '--loop',
            '--topic',
            'camera/image_raw',
            '--domain-id',
            str(DOMAIN_ID + 1),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        image = received.get(timeout=20)
        player.send_signal(signal.SIGINT)
        assert player.wait(10) == 0
        assert 'images sent' in player.communicate()[1]
    finally:
        player.kill()
        listener.close()
    assert (image.width, image.height, image.encoding) == (64, 48, 'rgb8')
    assert image.data.reshape(48, 64, 3)[0, 0].tolist() == [0, 0, 255]
    assert image.header.stamp.sec > 1_600_000_000


def test_replay_of_a_folder_leaves_bag_alerts_and_images(tiny_bundle, tmp_path, capsys):
    source = tmp_path / 'images'
    source.mkdir()
    noise = np.random.default_rng(1)
    for number in range(5):
        shown = noise.integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(source / f'{number}.png'), shown)
    output = tmp_path / 'out'
    words = ['replay', '--bundle', str(tiny_bundle), str(source), '--output', str(output)]
    assert main(words) == 0
    assert '5 images' in capsys.readouterr().out
    made = {path.name for path in output.iterdir()}
    assert {'replay.mcap', 'alerts.jsonl', 'summary.json', 'overlays'} <= made


def test_bench_writes_its_figures_as_json(tiny_bundle, capsys):
    assert main(['bench', '--bundle', str(tiny_bundle), '--frames', '5', '--json', '-']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures['overhead_ratio'] > 0
    assert figures['vs_torch_eager'] is None


def test_bench_shows_stages(tiny_bundle, capsys):
    assert main(['bench', '--bundle', str(tiny_bundle), '--frames', '5']) == 0
    assert 'full monitor / bare segmentation' in capsys.readouterr().out
