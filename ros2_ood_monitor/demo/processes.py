"""The demo's child processes: started apart from the terminal, stopped by the demo alone."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ros2_ood_monitor.demo.truth import Sent

STOP_S = 5.0
"""How long a process may take to leave after it was asked to."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and where to look."""


class Process:
    """A Python process of this interpreter in a session of its own, with a log file.

    In its own session Ctrl-C reaches only the demo, which then stops everything in order.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._file: IO[bytes] = log.open('ab')
        self.popen = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if name == 'camera' else self._file,
            stderr=self._file,
            start_new_session=True,
        )

    def require_running(self) -> None:
        """Raise DemoError with the end of the log if the process is gone."""
        code = self.popen.poll()
        if code is not None:
            lines = self.log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
            last = lines[-1] if lines else 'no output'
            raise DemoError(f'the {self.name} process ended with code {code}: {last} ({self.log})')

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.popen.kill()
        self.popen.wait()
        self._file.close()

    def stop(self) -> bool:
        """Ask the process to leave; returns False if it had to be killed."""
        clean = True
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(signal.SIGINT)
        try:
            self.popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            clean = False
        self._file.close()
        return clean


class Camera:
    """The camera process, which can be killed and started again; remembers what was sent."""

    def __init__(
        self, schedule: Path, images: Path, start_s: float, domain_id: int, log: Path
    ) -> None:
        self._arguments = (
            '-m',
            'ros2_ood_monitor.demo.camera',
            '--schedule',
            str(schedule),
            '--images',
            str(images),
            '--start-ns',
            str(round(start_s * 1e9)),
            '--domain-id',
            str(domain_id),
        )
        self._log = log
        self._lock = threading.Lock()
        self._sent: list[Sent] = []
        self._process: Process | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the process; it sends every image that is due from now on."""
        self._process = Process('camera', self._arguments, self._log)
        output = self._process.popen.stdout
        assert output is not None
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            with contextlib.suppress(ValueError):  # a line cut short by kill()
                report = json.loads(line)
                sent = Sent(report['frame'], report['steady_ns'] / 1e9)
                with self._lock:
                    self._sent.append(sent)

    @property
    def sent(self) -> list[Sent]:
        """Every image sent so far, by all incarnations of the camera."""
        with self._lock:
            return list(self._sent)

    def require_running(self) -> None:
        """Raise DemoError if the process died without being told to; its regular end is fine."""
        if self._process is not None and self._process.popen.poll() != 0:
            self._process.require_running()

    def kill(self) -> float:
        """Kill the process; returns when, in seconds of the steady clock."""
        assert self._process is not None
        at_s = time.monotonic()
        self._process.kill()
        self._process = None
        return at_s

    def stop(self) -> bool:
        """Stop the process if it runs; returns False if it had to be killed."""
        process, self._process = self._process, None
        return process is None or process.stop()
