"""MCAP bags of ROS 2 messages, as `ros2 bag` and Foxglove read them, without ROS."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import IO

from ros2_ood_monitor.messages.cdr import serialize
from ros2_ood_monitor.messages.definitions import DEFINITIONS, referenced
from ros2_ood_monitor.messages.topics import Topic

_SEPARATOR = '=' * 80
PARTIAL = '.partial'
"""Ending of a bag that is still being written; `mcap recover` reads one left by a crash."""


class McapWriter:
    """Writes one bag; it appears under its name only when it is complete. Threads may share it.

    Leaving the context with an exception keeps nothing. Raises OSError when the file cannot be
    written.
    """

    def __init__(self, path: Path) -> None:
        # Not at the top: a monitor without a black box runs where mcap is not installed.
        from mcap.writer import Writer

        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(self._path.name + PARTIAL)
        self._lock = threading.Lock()
        self._file: IO[bytes] = self._partial.open('wb')
        self._writer = Writer(self._file)
        self._writer.start(profile='ros2', library='ros2_ood_monitor')
        self._schemas: dict[str, int] = {}
        self._channels: dict[Topic, int] = {}
        self._sequences: dict[Topic, int] = {}

    def write(self, topic: Topic, message: object, log_time_ns: int) -> None:
        """Append a message of `messages.types`; `log_time_ns` counts from the epoch."""
        self.write_serialized(topic, serialize(message), log_time_ns)

    def write_serialized(self, topic: Topic, data: bytes, log_time_ns: int) -> None:
        """Append a message that is CDR already."""
        with self._lock:
            if topic not in self._channels:
                self._channels[topic] = self._register(topic)
            sequence = self._sequences[topic] = self._sequences.get(topic, 0) + 1
            self._writer.add_message(
                self._channels[topic], log_time_ns, data, log_time_ns, sequence
            )

    def close(self) -> None:
        """Complete the bag and give it its name; idempotent."""
        with self._lock:
            if self._file.closed:
                return
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._partial, self._path)

    def discard(self) -> None:
        """Throw away what was written, unless the bag is complete."""
        with self._lock:
            if not self._file.closed:
                self._file.close()
                self._partial.unlink(missing_ok=True)

    def __enter__(self) -> McapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _register(self, topic: Topic) -> int:
        schema = self._schemas.get(topic.type_name)
        if schema is None:
            text = message_definition(topic.type_name)
            schema = self._writer.register_schema(topic.type_name, 'ros2msg', text.encode())
            self._schemas[topic.type_name] = schema
        name = topic.name if topic.name.startswith('/') else f'/{topic.name}'
        # No QoS profile: distributions disagree on its notation, without one `play` uses defaults.
        return self._writer.register_channel(name, 'cdr', schema)


def message_definition(type_name: str) -> str:
    """Return the definition of a type followed by those it refers to, as rosbag2 stores it."""
    parts = [DEFINITIONS[type_name]]
    for nested in referenced(type_name):
        package, _, message = nested.partition('/msg/')
        parts.append(f'{_SEPARATOR}\nMSG: {package}/{message}\n{DEFINITIONS[nested]}')
    return '\n'.join(parts) + '\n'
