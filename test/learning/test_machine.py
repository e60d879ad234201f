"""How many threads a training uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from offline_training.learning import machine
from offline_training.learning.machine import idle_seconds, use_idle_cores

CPU = 'cpu{} 5 5 5 {} {} 0 0 0 0 0'


def stat(idle: dict[int, int]) -> str:
    rows = [CPU.format(core, ticks - 1, 1) for core, ticks in idle.items()]
    return '\n'.join(['cpu 9 9 9 9 9', *rows, 'intr 12 0 0'])


@pytest.fixture
def count(monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch, 'set_num_threads', chosen.append)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 4)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    return chosen


@pytest.mark.parametrize(
    ('idle', 'wanted'),
    [((1, 1, 1, 1), 4), ((1, 1, 1, 0), 3), ((0.4, 0.4, 0, 0), 1), ((0,) * 4, 1)],
)
def test_a_thread_for_each_idle_core(tmp_path, monkeypatch, count, idle, wanted):
    path, tick = tmp_path / 'stat', os.sysconf('SC_CLK_TCK')
    path.write_text(stat(dict.fromkeys(range(5), 1000)))
    monkeypatch.setattr(machine, 'STAT', path)

    def later(seconds: float) -> None:
        # Core 4 is not this process's.
        ticks = {core: 1000 + round(share * seconds * tick) for core, share in enumerate(idle)}
        path.write_text(stat({**ticks, 4: 9000}))

    monkeypatch.setattr(machine.time, 'sleep', later)
    use_idle_cores(0)
    assert count == [wanted]


def test_what_was_asked_for_counts(monkeypatch, count):
    use_idle_cores(7)
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    use_idle_cores(0)
    assert count == [7]


@pytest.mark.skipif(not machine.STAT.is_file(), reason='Linux alone counts idle time so')
def test_idle_time_is_read_from_the_machine():
    assert idle_seconds(os.sched_getaffinity(0)) > 0


def test_waiting_threads_sleep_in_every_command():
    program = 'import os, offline_training; print(os.environ["OMP_WAIT_POLICY"])'
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, 'PYTHONPATH': str(root)}
    environment.pop('OMP_WAIT_POLICY', None)
    for given, expected in ((None, 'PASSIVE'), ('ACTIVE', 'ACTIVE')):
        if given:
            environment['OMP_WAIT_POLICY'] = given
        command = [sys.executable, '-c', program]
        answer = subprocess.check_output(command, env=environment, text=True)
        assert answer.strip() == expected
