"""The node as a process: how it ends, how it is replaced, what the command line does with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason="needs rclpy: pip install '.[ros]', or a sourced ROS 2")

from support.dds_domain import own_domain
from support.ros_install import install_links
from support.ros_peer import PATIENCE_S, Camera, Peer
from support.tiny_bundle import normal_image

from ros2_ood_monitor.inference.engines.selection import BACKENDS, available_backends

needs_launch = pytest.mark.skipif(
    shutil.which('ros2') is None or importlib.util.find_spec('launch_ros') is None,
    reason='needs ros2cli and launch_ros',
)
needs_ros2cli = pytest.mark.skipif(shutil.which('ros2') is None, reason='needs ros2cli')


@pytest.fixture(scope='module')
def domain() -> Iterator[int]:
    with own_domain() as number:
        yield number


@pytest.fixture(scope='module')
def environment(domain, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp('ros')
    return {
        **os.environ,
        **install_links(folder / 'install'),
        'ROS_DOMAIN_ID': str(domain),
        'ROS_LOG_DIR': str(folder / 'log'),
    }


@pytest.fixture
def peer(domain) -> Iterator[Peer]:
    peer = Peer(domain)
    yield peer
    peer.close()


@pytest.fixture
def run(environment, tmp_path) -> Iterator:
    """Start commands that are interrupted at the end of the test."""
    running = []

    def start(*command: str) -> subprocess.Popen:
        with open(tmp_path / f'output{len(running)}.txt', 'w') as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process.output = Path(output.name)
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            # As a terminal does on Ctrl-C: `ros2 run` leaves it to its child to end.
            os.killpg(process.pid, signal.SIGINT)
    for process in running:
        process.wait(PATIENCE_S)


def ros2(environment: dict[str, str], *arguments: str) -> str:
    """Run one ros2 command and return what it printed."""
    result = subprocess.run(
        ['ros2', *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    return result.stdout + result.stderr


def node_command(environment: dict[str, str], *parameters: str) -> tuple[str, ...]:
    prefix = Path(environment['AMENT_PREFIX_PATH'].split(os.pathsep)[0])
    flags = [flag for parameter in parameters for flag in ('-p', parameter)]
    return (str(prefix / 'lib/ros2_ood_monitor/monitor_node'), '--ros-args', *flags)


def missing_backend() -> str:
    missing = set(BACKENDS) - set(available_backends())
    if not missing:
        pytest.skip('every engine works here')
    return missing.pop()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_node_after_a_last_alert(run, environment, peer, number):
    process = run(*node_command(environment))
    peer.wait_state('INITIALIZING')
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert 'Traceback' not in process.output.read_text()
    peer.wait(lambda: 'has stopped' in peer.alert()['message'], 'the last alert')


def test_dead_engines_end_the_process_with_an_error(run, environment, peer, tiny_bundle):
    process = run(
        *node_command(
            environment,
            f'bundle:={tiny_bundle}',
            'autostart:=true',
            f'backend:={missing_backend()}',
            'supervision.restart_attempts:=1',
            'supervision.restart_backoff_s:=6.0',  # discovery in Fast DDS may take 3 s and more
        )
    )
    peer.wait_state('FAULT', 'backend')
    assert process.wait(PATIENCE_S) == 1
    assert 'this process ends' in process.output.read_text()


@needs_launch
def test_dead_process_is_started_again(run, peer, tiny_bundle, tmp_path):
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text(
        '/**:\n  ros__parameters:\n    supervision:\n      restart_attempts: 0\n'
    )
    process = run(
        'ros2',
        'launch',
        'ros2_ood_monitor',
        'monitor.launch.py',
        f'bundle:={tiny_bundle}',
        f'backend:={missing_backend()}',
        f'params_file:={parameters}',
        'use_respawn:=true',
        'respawn_delay:=0.1',
    )
    for _ in range(2):
        peer.wait_state('FAULT', 'has stopped')
        peer.wait_state('INITIALIZING')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    assert process.output.read_text().count('process has died') >= 2


@needs_ros2cli
def test_command_line_tools(run, environment, peer, tiny_bundle):
    parameters = (
        f'bundle:={tiny_bundle}',
        'threads:=1',
        'supervision.stale_after_s:=5.0',
        'supervision.max_age_ms:=5000.0',
    )
    flags = [flag for parameter in parameters for flag in ('-p', parameter)]
    run('ros2', 'run', 'ros2_ood_monitor', 'monitor_node', '--ros-args', *flags)
    peer.wait_state('INITIALIZING')
    assert 'unconfigured' in ros2(environment, 'lifecycle', 'get', '/ood_monitor')
    for transition in ('configure', 'activate'):
        answer = ros2(environment, 'lifecycle', 'set', '/ood_monitor', transition)
        assert 'Transitioning successful' in answer
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
        echo = ros2(environment, 'topic', 'echo', '--once', '/ood/alert')
        assert 'value: NOMINAL' in echo
        assert 'Set parameter successful' in ros2(
            environment, 'param', 'set', '/ood_monitor', 'supervision.black_level', '200.0'
        )
        peer.wait_state('FAULT', 'black')
    refused = ros2(environment, 'param', 'set', '/ood_monitor', 'camera.name', 'rear')
    assert 'start the node with the new value' in refused
    described = ros2(environment, 'param', 'describe', '/ood_monitor', 'supervision.max_age_ms')
    assert 'Oldest image that may be scored' in described


@needs_launch
def test_show_args_explains_every_argument(environment):
    printed = ros2(environment, 'launch', 'ros2_ood_monitor', 'monitor.launch.py', '--show-args')
    for argument in ('bundle', 'image_topic', 'namespace', 'autostart', 'use_respawn'):
        assert f"'{argument}':" in printed
    assert 'no description' not in printed
