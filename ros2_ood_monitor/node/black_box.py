"""The black box: the last seconds in memory, on disk once an ALERT asks for them."""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from ros2_ood_monitor.alert import Alert, State
from ros2_ood_monitor.messages.cdr import serialize
from ros2_ood_monitor.messages.topics import Topic
from ros2_ood_monitor.recordings.mcap_writer import PARTIAL, McapWriter

_LOG = logging.getLogger(__name__)
_DRAIN_S = 0.2


class BlackBoxError(RuntimeError):
    """A black box is asked for that cannot be had; the message says what to type."""


def require_recording() -> None:
    """Raise BlackBoxError unless bags can be written here."""
    if importlib.util.find_spec('mcap') is None:
        raise BlackBoxError(
            "black_box.directory is set, but the Python package 'mcap' is missing; "
            "type: pip install '.[bags]' in the repository, or leave it empty"
        )


class _Record(NamedTuple):
    number: int
    topic: Topic
    data: bytes
    time_ns: int


class BlackBox:
    """A ring of messages that lasts `seconds` and at most `ring_bytes`.

    When a camera enters ALERT, the ring and the `seconds` that follow become one bag in
    `directory`, whose bags are kept below `quota_bytes` by deleting the oldest. Disks are slow and
    full at the wrong moment: only the black box's own thread touches them, and it only logs.
    Raises BlackBoxError where bags cannot be written.
    """

    def __init__(self, directory: Path, seconds: float, ring_bytes: int, quota_bytes: int) -> None:
        require_recording()
        self._directory = Path(directory)
        self._seconds = seconds
        self._ring_bytes = ring_bytes
        self._quota_bytes = quota_bytes
        self._ring: deque[_Record] = deque()
        self._bytes = 0
        self._count = 0
        self._alarming: set[str] = set()
        self._pending: str | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='black-box', daemon=True)
        self._thread.start()

    def record(self, topic: Topic, message: object, time_ns: int) -> None:
        """Add a message of time `time_ns` since the epoch; never waits for the disk."""
        data = serialize(message)
        with self._changed:
            self._count += 1
            self._ring.append(_Record(self._count, topic, data, time_ns))
            self._bytes += len(data)
            oldest_ns = time_ns - round(self._seconds * 1e9)
            while self._bytes > self._ring_bytes or self._ring[0].time_ns < oldest_ns:
                self._bytes -= len(self._ring.popleft().data)
                if not self._ring:
                    break

    def watch(self, alert: Alert) -> None:
        """Start a bag when the camera of `alert` enters ALERT."""
        with self._changed:
            if alert.state != State.ALERT:
                self._alarming.discard(alert.camera)
            elif alert.camera not in self._alarming:
                self._alarming.add(alert.camera)
                self._pending = alert.camera
                self._changed.notify()

    def close(self) -> None:
        """Complete the bag being written and stop; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._pending is not None)
                camera, self._pending = self._pending, None
            if camera is None:
                return
            try:
                self._write_bag(camera)
            except OSError as error:
                _LOG.error('the black box cannot write to %s: %s', self._directory, error)

    def _write_bag(self, camera: str) -> None:
        self._delete_oldest(self._quota_bytes - self._ring_bytes)
        stamp = time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())
        name = re.sub(r'[^\w.-]', '_', camera)
        path = self._directory / f'{name}_{stamp}_{time.monotonic_ns() % 10**6:06d}.mcap'
        end = time.monotonic() + self._seconds
        written = 0
        with McapWriter(path) as bag:
            while True:
                with self._changed:
                    fresh = [record for record in self._ring if record.number > written]
                for record in fresh:
                    bag.write_serialized(record.topic, record.data, record.time_ns)
                    written = record.number
                with self._changed:
                    remaining = end - time.monotonic()
                    if self._closing or remaining <= 0:
                        break
                    self._changed.wait_for(lambda: self._closing, min(_DRAIN_S, remaining))
        _LOG.info('the black box wrote %s', path)
        self._delete_oldest(self._quota_bytes, keep=path)

    def _delete_oldest(self, limit: int, keep: Path | None = None) -> None:
        bags = [
            (entry.stat().st_mtime_ns, entry.stat().st_size, entry)
            for pattern in ('*.mcap', f'*.mcap{PARTIAL}')
            for entry in self._directory.glob(pattern)
        ]
        total = sum(size for _, size, _ in bags)
        for _, size, entry in sorted(bags):
            if total <= limit:
                return
            if entry != keep:
                entry.unlink(missing_ok=True)
                total -= size
