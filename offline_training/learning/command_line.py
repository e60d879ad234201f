"""How every training command ends: its exit status, and what it says of an error."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ros2_ood_monitor.commands.sentence import sentence


def exit_status(work: Callable[[], object], interrupted: str = 'interrupted') -> int:
    """Do the work of a command; return 0, 2 for a mistake of the user, or 130 after Ctrl-C.

    A mistake, or a package that is not installed, is told in one sentence, by the first of several
    processes; a defect is raised.
    """
    try:
        work()
    except KeyboardInterrupt:
        message, status = f'\n{interrupted}\n', 130
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        message, status = f'error: {told}\n', 2
    else:
        return 0
    # Not imported above: it needs torch, which may be the package that is missing.
    ranks = sys.modules.get('offline_training.learning.ranks')
    if ranks is None or ranks.speaks():
        sys.stderr.write(message)
    return status
