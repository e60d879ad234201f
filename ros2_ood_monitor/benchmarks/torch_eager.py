"""The bare segmentation as a plain torch program, to compare the monitor with.

The program is `offline_training.benchmarks.torch_eager`. It runs in a process of its own, as such
a program would: in one process with another engine, its speed depends on that engine's memory and
threads, by a third and more. Nothing but plain bytes goes through its pipes.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.engines.base import EngineError

PROGRAM = 'offline_training.benchmarks.torch_eager'
SIZE = struct.Struct('<II')
MILLISECONDS = struct.Struct('<d')
STOP_S = 10.0


@contextmanager
def torch_eager(
    directory: Path, threads: int | None = None
) -> Iterator[Callable[[UInt8Array], float]]:
    """Open the program; what it yields segments an image (H, W, 3) RGB and returns milliseconds.

    The time is taken inside the program, from the image to labels. Raises EngineError if torch or
    the bundle's architecture is not there.
    """
    command = [sys.executable, '-m', PROGRAM, '--bundle', str(directory)]
    if threads is not None:
        command += ['--threads', str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, replies = process.stdin, process.stdout
        try:
            problem = replies.readline()
            if problem != b'\n':
                reason = problem.decode(errors='replace').strip() or 'its messages are above'
                raise EngineError(
                    f'torch-eager cannot run ({reason}); it needs a bundle of offline_training, '
                    "and pip install '.[training]' in the repository"
                )

            def segment(image: UInt8Array) -> float:
                with contextlib.suppress(BrokenPipeError):  # the missing reply says it better
                    requests.write(SIZE.pack(*image.shape[:2]))
                    requests.write(np.ascontiguousarray(image, np.uint8).tobytes())
                    requests.flush()
                reply = replies.read(MILLISECONDS.size)
                if len(reply) < MILLISECONDS.size:
                    raise EngineError('the torch program ended early; see its messages above')
                (milliseconds,) = MILLISECONDS.unpack(reply)
                return float(milliseconds)

            yield segment
        finally:
            with contextlib.suppress(BrokenPipeError):
                requests.close()  # the program ends when nobody is left to ask it
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
