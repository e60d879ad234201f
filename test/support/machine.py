"""Tests that need the machine to themselves, also when pytest-xdist runs others beside them."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from pathlib import Path

import pytest

GATE, MACHINE = Path(__file__), Path(__file__).with_name('__init__.py')
"""Any two files that all workers see; only their locks are used."""


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the test's timeout begins to run
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Share the machine, or have it alone if the test is marked so.

    Everyone passes through the gate; who is to be alone keeps it shut while the others finish,
    so that they cannot take turns and keep it waiting.
    """
    if not hasattr(item.config, 'workerinput'):  # nobody beside this process
        return (yield)
    alone = item.get_closest_marker('alone') is not None
    with GATE.open() as gate, MACHINE.open() as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)
