"""The bare segmentation as a plain torch program, to compare the monitor with.

It runs in a process of its own, as such a program would: in one process with another engine, its
speed depends on that engine's memory and threads, by a third and more.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.preprocessing import prepare

_SPAWN = multiprocessing.get_context('spawn')


@contextmanager
def torch_eager(
    directory: Path, threads: int | None = None
) -> Iterator[Callable[[UInt8Array], float]]:
    """Open the program; what it yields segments an image (H, W, 3) RGB and returns milliseconds.

    The time is taken inside the program, from the image to labels. Weights are random: they do
    not change the speed. Raises EngineError if torch or the bundle's architecture is not there.
    """
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, directory, threads), daemon=True)
    process.start()
    theirs.close()

    def receive() -> object:
        try:
            return ours.recv()
        except EOFError:
            raise EngineError('the torch program ended early; see its messages above') from None

    try:
        problem = receive()
        if problem is not None:
            raise EngineError(str(problem))

        def segment(image: UInt8Array) -> float:
            ours.send(image)
            return float(str(receive()))

        yield segment
    finally:
        ours.close()  # the program ends when nobody is left to ask it
        process.join(10)
        process.kill()


def _serve(connection: Connection, directory: Path, threads: int | None) -> None:
    try:
        import torch

        from offline_training.segmentation.backbones import build_backbone

        bundle = ModelBundle.load(directory)
        if threads is not None:
            torch.set_num_threads(threads)
        network = build_backbone(**bundle.backbone).eval()
    except (ImportError, TypeError, ValueError) as error:
        connection.send(
            f'torch-eager cannot run ({error}); `pip install ros2_ood_monitor[training]` and a '
            'bundle of offline_training are needed'
        )
        return
    mean, std = (
        torch.tensor(bundle.normalization[key]).reshape(1, 3, 1, 1) for key in ('mean', 'std')
    )
    connection.send(None)
    with torch.inference_mode():
        while True:
            try:
                image = connection.recv()
            except EOFError:
                return
            started = time.perf_counter()
            prepared = prepare(image, bundle.width, bundle.height, bundle.color_order)
            pixels = torch.from_numpy(prepared).permute(0, 3, 1, 2).float()
            labels = network((pixels - mean) / std).argmax(dim=1)[0]
            np.asarray(labels.to(torch.uint8))
            connection.send((time.perf_counter() - started) * 1e3)
