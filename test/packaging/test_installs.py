"""The installs that the README names, each alone in a bare environment: what it says works, works.

Not here: [tensorrt] needs a GPU, and [training] is what every other test runs in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from support.dds_domain import own_domain
from support.tiny_bundle import normal_image

pytestmark = [pytest.mark.slow, pytest.mark.alone]

FAST_DDS = Path(__file__).parents[1] / 'support' / 'fastdds_loopback.xml'
ENGINES = ('openvino', 'onnxruntime')
SCORE = """
import sys
import numpy as np
import ros2_ood_monitor as ood
with ood.Runner(ood.ModelBundle.load(sys.argv[1]), sys.argv[2]) as runner:
    runner.self_test()
    print('score', runner.infer(ood.Frame(np.full((48, 64, 3), 128, np.uint8))).score)
"""


class Install:
    """A virtual environment with the wheel and some of its extras, and nothing else."""

    def __init__(self, folder: Path, wheel: Path, extras: tuple[str, ...]) -> None:
        self.folder = folder
        subprocess.run([sys.executable, '-m', 'venv', str(folder)], check=True)
        named = f'{wheel}[{",".join(extras)}]' if extras else str(wheel)
        pip = self.run('python', '-m', 'pip', 'install', '--quiet', named)
        assert pip.returncode == 0, pip.stdout + pip.stderr

    @property
    def environment(self) -> dict[str, str]:
        # Nothing of the environment that runs the tests may shine through.
        # Nor may Fast DDS leave the loopback interface.
        hidden = ('PYTHON', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV', 'AMENT_', 'ROS_', '_ROS_')
        kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        return {**kept, 'FASTRTPS_DEFAULT_PROFILES_FILE': str(FAST_DDS)}

    def command(self, *words: str) -> list[str]:
        return [str(self.folder / 'bin' / words[0]), *words[1:]]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=250,
        )


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    root = Path(__file__).resolve().parents[2]
    words = ('wheel', '--quiet', '--no-deps', '--no-build-isolation', '--no-index', '--wheel-dir')
    source = copy_of(root, folder)
    subprocess.run([sys.executable, '-m', 'pip', *words, str(folder), str(source)], check=True)
    (path,) = folder.glob('*.whl')
    assert any(name.endswith('cli.py') for name in zipfile.ZipFile(path).namelist())
    return path


def copy_of(root: Path, folder: Path) -> Path:
    """Copy what is packaged, so that build output stays out of the working tree."""
    copy = folder / 'source'
    copy.mkdir()
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('ros2_ood_monitor', 'offline_training', 'launch', 'config', 'resource'):
        shutil.copytree(root / name, copy / name, ignore=ignore)
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'README.md', 'LICENSE'):
        shutil.copy(root / name, copy)
    return copy


@pytest.fixture(scope='module')
def install(wheel, tmp_path_factory) -> Callable[..., Install]:
    return lambda *extras: Install(tmp_path_factory.mktemp('install') / 'venv', wheel, extras)


def says(result: subprocess.CompletedProcess[str], *texts: str) -> None:
    printed = ' '.join((result.stdout + result.stderr).split())
    assert 'Traceback' not in printed
    for text in texts:
        assert text in printed


def write_image(folder: Path) -> Path:
    images = folder / 'images'
    images.mkdir(exist_ok=True)
    for number in range(3):
        cv2.imwrite(str(images / f'{number}.png'), normal_image(number))
    return images


def test_bare_install_helps_and_says_what_is_missing(install, tiny_bundle, tmp_path):
    bare = install()
    assert bare.run('ood-monitor', '--help').returncode == 0
    assert bare.run('ood-monitor', 'parameters').returncode == 0
    imported = bare.run('python', '-c', 'import ros2_ood_monitor as ood; ood.ModelBundle')
    assert imported.returncode == 0
    doctor = bare.run('ood-monitor', 'doctor')
    assert doctor.returncode == 1
    says(doctor, 'No monitor can run here', "pip install '.[openvino]'", "pip install '.[dds]'")
    images, named = str(write_image(tmp_path)), ('--bundle', str(tiny_bundle))
    for words, advice in (
        (('run', *named), "pip install '.[dds]'"),
        (('watch',), "pip install '.[dds]'"),
        (('play', images), "pip install '.[dds]'"),
        (('bench', *named), "pip install '.[openvino]'"),
        (('replay', *named, images, '--output', 'out'), "pip install '.[openvino]'"),
    ):
        refused = bare.run('ood-monitor', *words)
        assert refused.returncode == 2, words
        says(refused, advice)


@pytest.mark.parametrize('engine', ENGINES)
def test_engine_alone_scores_images_and_names_the_rest(install, tiny_bundle, tmp_path, engine):
    alone = install(engine)
    doctor = alone.run('ood-monitor', 'doctor', '--bundle', str(tiny_bundle))
    assert doctor.returncode == 1  # an engine, and no bus to hear a camera on
    says(doctor, 'self-test passed', "pip install '.[dds]'", 'No monitor can run here')
    scored = alone.run('python', '-c', SCORE, str(tiny_bundle), engine)
    assert scored.returncode == 0, scored.stderr
    says(scored, 'score ')
    replay = alone.run(
        *('ood-monitor', 'replay', '--bundle', str(tiny_bundle)),
        *(str(write_image(tmp_path)), '--output', str(tmp_path / 'out')),
    )
    assert replay.returncode == 2
    says(replay, "'mcap' is missing", "pip install '.[bags]'")


def test_with_dds_the_monitor_runs_and_only_the_black_box_asks_for_mcap(install, tiny_bundle):
    installed = install('onnxruntime', 'dds')
    doctor = installed.run('ood-monitor', 'doctor', '--bundle', str(tiny_bundle))
    assert doctor.returncode == 0
    says(doctor, 'A monitor can run here', 'no replay, no black box')
    with own_domain() as domain:
        words = ('ood-monitor', 'run', '--bundle', str(tiny_bundle), '--domain-id', str(domain))
        run_until_ready(installed, words)
        config = installed.folder.parent / 'black_box.yaml'
        config.write_text('/**:\n  ros__parameters:\n    black_box: {directory: bags}\n')
        refused = installed.run(*words, '--config', str(config))
        assert refused.returncode == 2
        says(refused, "'mcap' is missing", "pip install '.[bags]'")


def run_until_ready(installed: Install, words: tuple[str, ...]) -> str:
    """Start a monitor, wait until it watches, interrupt it; it must end in good order."""
    with subprocess.Popen(
        installed.command(*words),
        cwd=installed.folder.parent,
        env=installed.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        printed = ''
        for line in process.stderr:
            printed += line
            if 'watches' in line or 'watching' in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, printed
    assert 'Traceback' not in printed
    assert 'watch' in printed
    return printed


def test_replay_works_with_an_engine_and_bags(install, tiny_bundle, tmp_path):
    installed = install('onnxruntime', 'bags')
    output = tmp_path / 'out'
    replay = installed.run(
        *('ood-monitor', 'replay', '--bundle', str(tiny_bundle)),
        *(str(write_image(tmp_path)), '--output', str(output)),
    )
    assert replay.returncode == 0, replay.stderr
    assert (output / 'replay.mcap').stat().st_size > 0


@pytest.mark.skipif(
    sysconfig.get_platform() != 'linux-x86_64', reason='there are wheels of rclpy for x86-64 only'
)
def test_rclpy_from_the_package_index_runs_the_lifecycle_node(install, tiny_bundle):
    installed = install('onnxruntime', 'ros')
    doctor = installed.run('ood-monitor', 'doctor', '--bundle', str(tiny_bundle))
    assert doctor.returncode == 0
    says(doctor, 'A monitor can run here', 'publishes no ood/regions')
    with own_domain() as domain:
        printed = run_until_ready(
            installed,
            ('ood-monitor', 'run', '--bundle', str(tiny_bundle), '--domain-id', str(domain)),
        )
    assert 'not published: ood/regions and ood/label_info' in printed
