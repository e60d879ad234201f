"""Batches to learn from: drawn by worker processes, or cut from tensors in memory.

What is drawn depends on seed, epoch and index alone: never on the number of workers, and not on
the number of processes that learn together, each of which gets its own share of every batch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from multiprocessing import get_all_start_methods
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from offline_training.learning.ranks import rank, ranks
from offline_training.learning.session import Session

Draw = Callable[[int, np.random.Generator, float], tuple[Any, ...]]
"""Index, random numbers of this sample, progress 0..1 at the start of the epoch -> arrays."""
Key = tuple[int, int, float]
MOST_WORKERS = 8
FEW_SAMPLES = 64
"""Fewer are drawn sooner than a process has started."""


class Batches(Protocol):
    """What a training goes through, epoch after epoch."""

    def count(self, epoch: int, progress: float) -> int:
        """Return the number of batches of an epoch that starts at `progress` in 0..1."""
        ...

    def epoch(self, epoch: int, progress: float, first: int = 0) -> Iterator[Sequence[Tensor]]:
        """Yield this process's share of every batch from the `first` on."""
        ...


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(device: torch.device, samples: int) -> int:
    """Return how many processes prepare batches: one on a CPU, whose cores are busy with steps."""
    if samples < FEW_SAMPLES or 'fork' not in get_all_start_methods():
        return 0
    most = MOST_WORKERS if device.type == 'cuda' else 1
    return max(0, min(most, cores() // ranks() - 1))


class DrawnBatches:
    """Batches of samples that `draw` makes, each as often as the others, in a shuffled order.

    Args:
        count: Number of samples to choose from.
        draw: Makes one sample, arrays of equal shapes; see `Draw`.
        batch_size: Samples per batch of all processes together, rounded up to a multiple of
            them; may depend on the progress at the start of an epoch.
        seed: Of the order and of every sample.
        device: Where the batches are wanted.
        session: Says how many workers draw.
        every: An epoch has so many batches and may begin in the midst of the samples; None = it
            goes through the samples once, up to what fills no batch.
        most: Number of batches of all epochs together, with `every`.
    """

    def __init__(
        self,
        count: int,
        draw: Draw,
        batch_size: int | Callable[[float], int],
        seed: int,
        device: torch.device,
        session: Session,
        every: int | None = None,
        most: int | None = None,
    ) -> None:
        self._samples, self._size, self._seed = count, batch_size, seed
        self._every, self._most, self._device = every, most, device
        self._drawn = _Drawn(draw, seed)
        chosen = session.workers
        self._workers = default_workers(device, count) if chosen is None else chosen

    def count(self, epoch: int, progress: float) -> int:
        if self._every is None:
            return max(1, self._samples // self._whole(progress))
        left = self._every if self._most is None else self._most - epoch * self._every
        return min(self._every, left)

    def epoch(self, epoch: int, progress: float, first: int = 0) -> Iterator[Sequence[Tensor]]:
        keys = (
            self._keys(epoch, number, progress)
            for number in range(first, self.count(epoch, progress))
        )
        # A loader for each epoch: its workers end with it, whatever ends it.
        loader = DataLoader(
            self._drawn,
            batch_sampler=keys,
            num_workers=self._workers,
            collate_fn=_unchanged,
            pin_memory=self._device.type == 'cuda',
            worker_init_fn=_start_worker,
            # What draws need not be picklable; a child touches neither CUDA nor OpenMP.
            multiprocessing_context='fork' if self._workers else None,
        )
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            yield [part.to(self._device, non_blocking=True) for part in batch]

    def _whole(self, progress: float) -> int:
        size = self._size if isinstance(self._size, int) else self._size(progress)
        return -(-min(size, self._samples) // ranks()) * ranks()

    def _keys(self, epoch: int, number: int, progress: float) -> list[Key]:
        size = self._whole(progress)
        if self._every is not None:
            batches = max(1, self._samples // size)
            epoch, number = divmod(epoch * self._every + number, batches)
        order = _order(self._seed, epoch, self._samples)
        # Fewer samples than processes: some are seen twice.
        chosen = np.resize(order, max(size, len(order)))[number * size : (number + 1) * size]
        return [(epoch, int(index), progress) for index in chosen[rank() :: ranks()]]


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


class _Drawn(Dataset[Any]):
    """Draws whole batches; a mistake of the user travels as a value, or its sentence is lost."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self._draw, self._seed = draw, seed

    def __getitems__(self, keys: list[Key]) -> list[Tensor] | Exception:
        samples = []
        try:
            for epoch, index, progress in keys:
                rng = np.random.default_rng([self._seed, epoch, index])
                samples.append(self._draw(index, rng, progress))
        except ValueError as error:
            return error
        return [
            torch.from_numpy(np.ascontiguousarray(np.stack(part)))
            for part in zip(*samples, strict=True)
        ]


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    # A pool of threads does not survive the fork, and the other workers use the other cores.
    cv2.setNumThreads(0)
    # Ctrl-C is the training's own business: it ends the workers when it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class TensorBatches:
    """Batches of tensors (N, ...) that are in memory on the device, in a new order every epoch."""

    def __init__(self, tensors: Sequence[Tensor], batch_size: int, seed: int) -> None:
        self._tensors, self._seed = tensors, seed
        self._size = -(-batch_size // ranks()) * ranks()

    def count(self, epoch: int, progress: float) -> int:
        # The last batch may be small, but every process needs a sample of it.
        return max(1, -(-(len(self._tensors[0]) - ranks() + 1) // self._size))

    def epoch(self, epoch: int, progress: float, first: int = 0) -> Iterator[Sequence[Tensor]]:
        seed = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self._tensors[0]), generator=generator)
        order = order.to(self._tensors[0].device)
        for index in order.split(self._size)[first : self.count(epoch, progress)]:
            own = index[rank() :: ranks()]
            yield [tensor[own] for tensor in self._tensors]


class Steps:
    """Nothing but steps: for a loss that draws its own samples; `every` make an epoch."""

    def __init__(self, most: int, every: int) -> None:
        self._most, self._every = most, every

    def count(self, epoch: int, progress: float) -> int:
        return min(self._every, self._most - epoch * self._every)

    def epoch(self, epoch: int, progress: float, first: int = 0) -> Iterator[Sequence[Tensor]]:
        return iter([()] * (self.count(epoch, progress) - first))
