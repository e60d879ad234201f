"""Memory policy of long CPU runs."""

from __future__ import annotations

import ctypes
import sys

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
