"""No module of the runtime imports torch or the training code, not even inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / 'ros2_ood_monitor'
MODULES = sorted(PACKAGE.rglob('*.py'))
FORBIDDEN = {'torch', 'torchvision', 'offline_training'}
IMPORTERS = {'import_module', '__import__', 'run_module'}


def imported(tree: ast.AST) -> set[str]:
    """Return the top-level packages that are imported anywhere in a module.

    Also by a constant name: `importlib.import_module('torch')`.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, 'attr', getattr(function, 'id', ''))
            if name in IMPORTERS:
                names |= {
                    argument.value
                    for argument in node.args
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                }
    return {name.partition('.')[0] for name in names}


@pytest.mark.parametrize(
    'text',
    [
        'import torch.nn as nn',
        'def f():\n    from offline_training.data import frames',
        'if TYPE_CHECKING:\n    import torchvision',
        "importlib.import_module('torch')",
    ],
)
def test_every_way_to_import_is_found(text: str) -> None:
    assert imported(ast.parse(text)) & FORBIDDEN


def test_every_module_of_the_runtime_is_free_of_them() -> None:
    assert len(MODULES) > 90
    found = {
        str(path.relative_to(PACKAGE)): sorted(imported(ast.parse(path.read_text())) & FORBIDDEN)
        for path in MODULES
    }
    assert {path: names for path, names in found.items() if names} == {}
