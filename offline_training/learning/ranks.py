"""Several processes that learn one network: who is who, and what happens when one is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous

PATIENCE = timedelta(hours=12)
"""How long the others wait for the first process, which alone validates."""


class RankError(ValueError):
    """Another process of this training is gone."""


def rank() -> int:
    """Return which of the processes this is; 0 writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """Return how many processes learn together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Return when every process has come here."""
    if ranks() > 1:
        dist.barrier()


def agree(value: float) -> float:
    """Return the first process's value on all of them."""
    if ranks() == 1:
        return value
    device = 'cuda' if dist.get_backend() == 'nccl' else 'cpu'
    held = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(held, 0)
    return float(held)


def mean(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over the processes."""
    if ranks() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value / ranks()


def spread(network: nn.Module, buffers_only: bool = False) -> None:
    """Give the first process's weights, or its buffers alone, to all."""
    if ranks() > 1:
        tensors = network.buffers() if buffers_only else network.state_dict().values()
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def is_loss_of_a_rank(error: BaseException) -> bool:
    """Whether an error says that another process cannot be reached any more."""
    if ranks() == 1:
        return False
    known = ('gloo', 'nccl', 'connection closed', 'connection reset')
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in known)
    )


_store: Any = None


def speaks() -> bool:
    """Whether this process may tell the user how the training ended: the first that wants to."""
    if _store is None:
        return True
    try:
        return bool(_store.compare_set('last_word', '', str(rank())) == str(rank()).encode())
    except RuntimeError:
        return rank() == 0


@contextmanager
def together() -> Iterator[None]:
    """Join the other processes if torchrun started this one; on CUDA each has its own GPU.

    Raises:
        RankError: another process ended before its time.
    """
    global _store
    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        yield
        return
    backend = 'gloo'
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        backend = 'nccl'
    _store, own_rank, count = next(iter(rendezvous('env://')))
    dist.init_process_group(
        backend,
        store=_store,
        rank=own_rank,
        world_size=count,
        timeout=PATIENCE,
    )
    # torchrun ends the others by SIGTERM: the same as Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RankError) or not is_loss_of_a_rank(error):
            raise
        raise RankError(
            'a process of the training ended before its time, so all end; continue with --resume'
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()
