"""The package as pip, colcon and rosdep see it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package

import ros2_ood_monitor

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'ros2_ood_monitor'

# rosdep install fails on a name without a key; these have none (or only a pip key, which the
# build farm refuses).
WITHOUT_ROSDEP_KEY = (
    'tensorrt',
    'pycuda',
    'cyclonedds',
    'openvino',
    'onnx',
    'mcap',
    'rosbags',
    'torch',
)


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy of what is packaged, so that build output stays out of the working tree."""
    copy = tmp_path_factory.mktemp('source')
    for folder in (PACKAGE, 'offline_training', 'launch', 'config', 'resource', 'test'):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__'))
    for file in ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '--quiet',
            '--no-deps',
            '--no-build-isolation',
            '--no-index',
            '--wheel-dir',
            str(folder),
            str(source),
        ],
        check=True,
    )
    (path,) = folder.glob('*.whl')
    return zipfile.ZipFile(path)


def shared_files() -> set[str]:
    """What ROS tools look up under share/, relative to the installation prefix."""
    found = {
        f'share/ament_index/resource_index/packages/{PACKAGE}',
        f'share/{PACKAGE}/package.xml',
    }
    for pattern in (
        'launch/*.launch.py',
        'config/*.yaml',
        'config/training/*.yaml',
        'config/compare/*.yaml',
    ):
        found |= {f'share/{PACKAGE}/{path.relative_to(ROOT)}' for path in ROOT.glob(pattern)}
    return found


def test_package_xml_is_valid_format_3():
    package = parse_package(str(ROOT / 'package.xml'))  # raises on an invalid file
    assert package.package_format == 3
    assert package.name == PACKAGE
    assert [export.content for export in package.exports] == ['ament_python']
    assert package.licenses == ['Apache-2.0']


def test_package_xml_has_the_version_of_the_code():
    assert parse_package(str(ROOT / 'package.xml')).version == ros2_ood_monitor.__version__


def test_package_xml_names_only_what_rosdep_knows():
    package = parse_package(str(ROOT / 'package.xml'))
    named = {one.name for one in package.exec_depends + package.test_depends}
    assert 'rclpy' in named
    assert not [name for name in named for bad in WITHOUT_ROSDEP_KEY if bad in name]


def test_every_code_folder_is_a_package():
    folders = {
        path.parent for top in (PACKAGE, 'offline_training') for path in (ROOT / top).rglob('*.py')
    }
    assert [folder for folder in folders if not (folder / '__init__.py').exists()] == []


def test_wheel_has_the_commands(wheel):
    (name,) = [one for one in wheel.namelist() if one.endswith('entry_points.txt')]
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    assert dict(parser['console_scripts']) == {
        'ood-monitor': 'ros2_ood_monitor.cli:main',
        'monitor_node': 'ros2_ood_monitor.node.lifecycle_node:main',
    }


def test_wheel_has_both_packages_and_no_tests(wheel):
    names = wheel.namelist()
    assert f'{PACKAGE}/bus/__init__.py' in names
    assert 'offline_training/__init__.py' in names
    assert not [name for name in names if name.startswith('test')]


def test_wheel_has_every_file_that_lies_in_a_package(wheel):
    files = {
        path.relative_to(ROOT).as_posix()
        for top in (PACKAGE, 'offline_training')
        for path in (ROOT / top).rglob('*')
        if path.is_file() and path.suffix != '.pyc'
    }
    assert f'{PACKAGE}/bundle/manifest.schema.json' in files
    assert files - set(wheel.namelist()) == set()


def test_wheel_has_the_shared_files(wheel):
    prefix = f'{PACKAGE}-{ros2_ood_monitor.__version__}.data/data/'
    assert {prefix + file for file in shared_files()} <= set(wheel.namelist())


def test_colcon_layout_puts_the_node_where_ros2_run_looks(source, tmp_path):
    subprocess.run(
        [
            sys.executable,
            'setup.py',
            '-q',
            'install',
            '--prefix',
            str(tmp_path),
            '--single-version-externally-managed',
            '--record',
            str(tmp_path / 'record.txt'),
        ],
        cwd=source,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / 'lib' / PACKAGE / 'monitor_node').is_file()
    assert {file for file in shared_files() if not (tmp_path / file).exists()} == set()


@pytest.mark.parametrize('module', [PACKAGE, f'{PACKAGE}.cli', f'{PACKAGE}.supervision.monitor'])
def test_import_pulls_in_nothing_heavy(module):
    heavy = ('torch', 'rclpy', 'cyclonedds', 'openvino', 'onnxruntime', 'tensorrt', 'pycuda')
    code = f'import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])'
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == '[]'
