"""The rooms stay rooms: small folders, short modules, no import circle. Layers: pyproject.toml."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ('ros2_ood_monitor', 'offline_training')
LONGEST_MODULE = 350
LARGEST_FOLDER = 20
LARGEST_ROOT = {'ros2_ood_monitor': 12, 'offline_training': 8}


def folders() -> list[Path]:
    return sorted({file.parent for top in PACKAGES for file in (ROOT / top).rglob('*.py')})


@pytest.mark.parametrize('package', PACKAGES)
def test_the_root_of_a_package_stays_small(package):
    files = sorted(file.name for file in (ROOT / package).glob('*.py'))
    assert 0 < len(files) <= LARGEST_ROOT[package], files


def test_no_folder_grows_beyond_what_can_be_overseen():
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob('*.py'))) for folder in folders()}
    assert 'ros2_ood_monitor/scenes' in sizes
    assert {name: size for name, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_no_module_is_longer_than_can_be_read_at_once():
    lines = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding='utf-8').splitlines())
        for folder in folders()
        for file in folder.glob('*.py')
    }
    assert {name: length for name, length in lines.items() if length > LONGEST_MODULE} == {}


def test_no_modules_import_each_other():
    # Also across parents, which the contract "No circle inside a room" does not see.
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert sum(map(len, imports.values())) > 500
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
