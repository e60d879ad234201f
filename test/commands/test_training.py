"""The commands of a workstation, which hand over to `offline_training`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ros2_ood_monitor.cli import COMMANDS, main
from ros2_ood_monitor.commands import training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def started(monkeypatch):
    """Return what a process would become."""
    calls = []
    monkeypatch.setattr(training.os, 'execv', lambda path, words: calls.append([path, *words]))
    return calls


@pytest.mark.parametrize('name', training.SUMMARIES)
def test_a_command_becomes_its_module_with_all_words(name, started):
    pytest.importorskip('torch')
    assert main([name, '--config', 'a b.yaml', '--help', '--data.dataset=folder']) == 0
    module = f'offline_training.{name.replace("-", "_")}'
    words = ['--config', 'a b.yaml', '--help', '--data.dataset=folder']
    assert started == [[sys.executable, sys.executable, '-m', module, *words]]
    assert find_spec(module) is not None


@pytest.mark.parametrize('missing', [*training.NEEDED, 'offline_training'])
def test_a_missing_package_is_named_with_its_extra(missing, started, monkeypatch, capsys):
    monkeypatch.setattr(training, 'find_spec', lambda name: None if name == missing else True)
    assert main(['train', '--resume']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('ood-monitor train: ')
    assert missing in line
    assert "pip install '.[training]'" in line
    assert started == []


def test_help_lists_robot_and_workstation_apart(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    text = capsys.readouterr().out
    robot, _, workstation = text.partition('on a workstation')
    assert all(f'  {command.NAME} ' in robot for command in COMMANDS if command.NAME != 'demo')
    assert all(f'  {name} ' in workstation for name in (*training.SUMMARIES, 'demo'))
    assert max(map(len, text.splitlines())) <= 80


def test_a_real_process_hands_over_and_gives_the_exit_code():
    """The whole way, with the cheapest module: it refuses what it does not know."""
    pytest.importorskip('torch')
    words = ['residual-flow-protocol', '--inside', 'mars']
    command = [sys.executable, '-m', 'ros2_ood_monitor', *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "'mars'" in done.stderr
