"""DDS domains for tests: each belongs to one test process of this machine at a time."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

COUNT = 101  # the ports of higher domains may be ephemeral ones
_NEXT = itertools.count(os.getpid() * 7)  # not the last test's: its processes may still be leaving


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """Reserve a domain until the block ends, against every other test run on this machine."""
    for number in itertools.islice(_NEXT, COUNT):
        domain = 1 + number % COUNT
        path = Path(tempfile.gettempdir()) / f'ros2_ood_monitor_test_domain_{domain}.lock'
        with path.open('a') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield domain
            return
    raise RuntimeError('other test runs use every DDS domain; wait for one of them to end')
