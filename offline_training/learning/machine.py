"""How torch uses a machine that may be busy: its threads, and the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

import torch

LOOK = 0.5
"""Seconds for which the cores are watched."""
STAT = Path('/proc/stat')


def use_idle_cores(threads: int) -> None:
    """Let torch use `threads`; 0 = one per idle core, unless OMP_NUM_THREADS says how many.

    A thread more than there are idle cores makes all wait for it: beside one busy process two
    threads on two cores took 1.4 times as long as one for convolutions, 3.7 times for a flow.
    """
    if threads:
        torch.set_num_threads(threads)
    elif 'OMP_NUM_THREADS' not in os.environ and STAT.is_file():
        cores = os.sched_getaffinity(0)
        before = idle_seconds(cores)
        time.sleep(LOOK)
        idle = (idle_seconds(cores) - before) / LOOK
        torch.set_num_threads(min(torch.get_num_threads(), max(1, round(idle))))


def idle_seconds(cores: Collection[int]) -> float:
    """Return for how long the cores have been idle since the machine started, in all."""
    ticks = 0
    for line in STAT.read_text(encoding='ascii').splitlines():
        name, *fields = line.split()
        if name.startswith('cpu') and name != 'cpu' and int(name[3:]) in cores:
            ticks += int(fields[3]) + int(fields[4])  # idle, and waiting for a disk
    return ticks / os.sysconf('SC_CLK_TCK')


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 2**31 - 4096


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel after every layer.

    Activations of some megabytes are otherwise mapped, zeroed and unmapped at each step; training
    ESPNet on two cores took a fifth longer so. No effect on other C libraries.
    """
    if not sys.platform.startswith('linux'):
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _LARGE)
