"""Progress bars of long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress(console: Console) -> Progress:
    """Return bars with share, elapsed and remaining time."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def fit_progress(name: str, steps: int) -> Iterator[Callable[..., None]]:
    """Give a function that advances by one or more of `steps`; silent without a terminal."""
    bars = progress(Console(stderr=True))
    bars.disable = not bars.console.is_terminal
    with bars:
        yield partial(bars.advance, bars.add_task(name, total=steps))
