from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ['support.machine', 'support.campaign']

try:
    from hypothesis import settings
except ImportError:  # not part of a ROS 2 environment, and no test there needs it
    pass
else:
    # The same examples in every run; a slow machine is no failure.
    settings.register_profile('repeatable', derandomize=True, deadline=None)
    settings.load_profile('repeatable')


@pytest.fixture(scope='session')
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of toy networks at 64x48; copy it before changing it."""
    pytest.importorskip('onnx')
    from support.tiny_bundle import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Give every test the same handlers: commands set their own and end with the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_configure() -> None:
    # A run that a shell started in the background inherits that Ctrl-C is ignored, and with it
    # every process that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # launch_testing imports every module it meets, also those that need what a robot has not.
    if config.option.markexpr == 'ros' and collection_path.suffix == '.py':
        return not collection_path.name.startswith('test_ros_')
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A launch test is no function that could carry the mark itself.
    for item in items:
        if item.path.name.startswith('test_ros_'):
            item.add_marker('ros')
            item.add_marker('alone')
