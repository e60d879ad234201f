"""How many threads torch uses on a machine that may be busy."""

from __future__ import annotations

import os
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
