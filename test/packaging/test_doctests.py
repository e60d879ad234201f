"""Examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    for package in ('ros2_ood_monitor', 'offline_training')
    for file in (ROOT / package).rglob('*.py')
    if '>>> ' in file.read_text(encoding='utf-8')
)


def test_there_are_examples():
    assert len(MODULES) >= 6


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    tried = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert tried.attempted > 0
    assert tried.failed == 0
