"""How a training runs, beside what it learns: where it is kept, who prepares, what is shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console


@dataclass(frozen=True)
class Session:
    """What a training is given to run with; what it learns does not depend on it."""

    checkpoint: Path | None = None
    """File that the training is kept in, and continued from where it exists; None = not kept."""
    workers: int | None = None
    """Processes that prepare batches; 0 = the training's own, None = as the machine is."""
    console: Console = field(default_factory=lambda: Console(stderr=True))
    """Where progress is shown, if it is a terminal, and figures are printed."""
    bars: bool = True
    """Whether to show progress; not where another bar is shown."""
    log_dir: Path | None = None
    """Folder for TensorBoard; None = no metrics are logged."""

    def part(self, name: str) -> Session:
        """Return the session of one of several trainings, with a checkpoint of its own."""
        if self.checkpoint is None:
            return self
        path = self.checkpoint.with_name(f'{self.checkpoint.stem}_{name}{self.checkpoint.suffix}')
        return replace(self, checkpoint=path)


QUIET = Session()
"""Keeps nothing: for trainings that take seconds."""
