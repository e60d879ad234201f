"""A bar for the fitting of a detector, where somebody can see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console

from offline_training.learning.progress import progress


@contextmanager
def fit_progress(name: str, steps: int) -> Iterator[Callable[..., None]]:
    """Give a function that advances by one or more of `steps`; silent without a terminal."""
    bars = progress(Console(stderr=True))
    bars.disable = not bars.console.is_terminal
    with bars:
        yield partial(bars.advance, bars.add_task(name, total=steps))
