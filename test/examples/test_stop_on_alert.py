"""The example stops the robot for an alert, for silence, and when it ends itself."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('cyclonedds', reason='pip install cyclonedds')

from support.alerts import SAFE, UNSAFE, SpokenAlerts

from ros2_ood_monitor.bus.dds import DdsMiddleware
from ros2_ood_monitor.messages.topics import Qos, Topic
from ros2_ood_monitor.messages.types import Bool

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = os.getpid() * 17 % 90 + 10
STOP = Topic('stop', 'std_msgs/msg/Bool', Qos(reliable=True, latched=True))


@pytest.fixture
def heard() -> Iterator[queue.SimpleQueue[bool]]:
    """What the robot is told, changes only."""
    changes: queue.SimpleQueue[bool] = queue.SimpleQueue()
    last: list[bool] = []

    def receive(message: Bool) -> None:
        if last[-1:] != [message.data]:
            last.append(message.data)
            changes.put(message.data)

    bus = DdsMiddleware('robot', 'front', DOMAIN)
    bus.subscribe(STOP, receive)
    yield changes
    bus.close()


def test_the_robot_drives_only_while_the_monitor_says_that_it_is_safe(heard):
    command = [sys.executable, str(ROOT / 'examples' / 'stop_on_alert.py')]
    program = subprocess.Popen(
        [*command, '--namespace', 'front', '--domain-id', str(DOMAIN)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert heard.get(timeout=30) is True  # before any alert
        with SpokenAlerts(DOMAIN) as monitor:
            assert heard.get(timeout=10) is False
            monitor.alert = UNSAFE
            assert heard.get(timeout=5) is True
            monitor.alert = SAFE
            assert heard.get(timeout=5) is False
            monitor.alert = None
            assert heard.get(timeout=5) is True  # silence
            monitor.alert = SAFE
            assert heard.get(timeout=5) is False
            program.send_signal(signal.SIGINT)
            output, _ = program.communicate(timeout=10)
            assert heard.get(timeout=5) is True  # the last word
    finally:
        program.kill()
    assert program.returncode == 0
    lines = output.splitlines()
    assert 'stop - an unknown view' in lines
    assert 'stop - the monitor is silent' in lines
    assert 'drive - nothing unknown in view' in lines
