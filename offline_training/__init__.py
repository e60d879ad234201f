"""Workstation side: train, attack, calibrate and export the networks the monitor runs."""

from __future__ import annotations

import os
import sys
from types import TracebackType

# A thread of OpenMP that waits spins, by default, and takes the core from the one it waits for: on
# two busy cores two threads were 16 times slower than one, and asleep they were as fast as it. It
# counts only where it is set before torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('KMP_BLOCKTIME', '0')


def _say_what_is_missing(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Name a package that an import of a command did not find, and end with status 2."""
    from ros2_ood_monitor.commands.sentence import sentence

    told = sentence(error) if isinstance(error, ModuleNotFoundError) else None
    if told is None:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(f'error: {told}\n')
    raise SystemExit(2)


# So it stands while the module of `python -m offline_training.MODULE` is looked for; its imports
# come before anything in it could catch an error.
if sys.argv[:1] == ['-m']:
    sys.excepthook = _say_what_is_missing
