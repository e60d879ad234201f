"""The README's Python runs as it stands, and its commands exist with the options it names."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ros2_ood_monitor.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / 'test' / 'golden' / 'bundle_schema_2'
TEXT = (ROOT / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.DOTALL | re.MULTILINE)
PROGRAMS = [block for language, block in BLOCKS if language == 'python']
SHELL = ''.join(block for language, block in BLOCKS if not language).replace('\\\n', ' ')
SHELL += '\n'.join(code.replace('\n', ' ') for code in re.findall(r'`(python -m [^`]+)`', TEXT))
COMMANDS = sorted({line.split('  #')[0].strip() for line in SHELL.splitlines() if line.strip()})


def starting_with(*words: str) -> list[str]:
    return [line for line in COMMANDS if line.split()[: len(words)] == list(words)]


@functools.cache
def help_of(*command: str) -> str:
    # Wide, so that no option is broken over two lines.
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '400'}
    result = subprocess.run(
        [*command, '--help'], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_the_first_program_scores_an_image(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / 'runs' / 'demo' / 'bundle')
    shutil.copy(GOLDEN / 'selftest' / 'anomaly.png', tmp_path / 'image.png')
    result = subprocess.run(
        [sys.executable, '-c', PROGRAMS[0]],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    score, region = result.stdout.splitlines()
    assert score == 'score 1.30'
    assert region.startswith('unknown at (')


@pytest.mark.alone
def test_the_second_program_hears_the_alert_and_the_silence():
    pytest.importorskip('cyclonedds', reason='pip install cyclonedds')
    from support.alerts import UNSAFE, SpokenAlerts

    domain = os.getpid() * 19 % 90 + 10
    program = subprocess.Popen(
        [sys.executable, '-c', PROGRAMS[1]],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'ROS_DOMAIN_ID': str(domain)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == 'stop: silence\n'
        with SpokenAlerts(domain, UNSAFE):
            assert program.stdout.readline() == 'stop: an unknown view\n'
    finally:
        program.kill()
        program.communicate()


def test_there_are_no_other_programs():
    assert len(PROGRAMS) == 2


@pytest.mark.parametrize('line', starting_with('make'))
def test_make_knows_the_targets(line):
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for target in line.split()[1:]:
        assert re.search(rf'^{target}:.*##', makefile, re.MULTILINE)


@pytest.mark.parametrize('line', starting_with('ood-monitor'))
def test_ood_monitor_takes_the_arguments(line):
    arguments = shlex.split(line)[1:]
    if '--help' in arguments:
        assert help_of(sys.executable, '-m', 'ros2_ood_monitor')
    else:
        assert build_parser().parse_args(arguments).execute


@pytest.mark.parametrize('line', starting_with('python', '-m'))
def test_modules_have_the_options(line):
    module, *arguments = shlex.split(line)[2:]
    if module == 'colcon':
        return
    options = [word.partition('=')[0] for word in arguments if word.startswith('--')]
    shown = help_of(sys.executable, '-m', module)
    assert options
    assert [option for option in options if option not in shown] == []
    for word in arguments:
        if word.startswith('config/'):
            assert (ROOT / word).is_file()


def test_the_launch_file_has_the_arguments():
    (line,) = starting_with('ros2', 'launch')
    _, _, package, file, *arguments = line.split()
    launch = (ROOT / 'launch' / file).read_text(encoding='utf-8')
    assert package == 'ros2_ood_monitor'
    for argument in arguments:
        assert f"'{argument.partition(':=')[0]}'" in launch


def test_every_linked_file_exists():
    links = re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', TEXT)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []
