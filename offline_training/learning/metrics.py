"""Metrics of a training for TensorBoard, where they are wanted."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from typing_extensions import Self

from offline_training.learning.settings import ConfigError


def require_tensorboard() -> None:
    """Raise ConfigError unless TensorBoard is installed."""
    if find_spec('tensorboard') is None:
        raise ConfigError(
            '--logger tensorboard needs the package tensorboard; install it with '
            'pip install tensorboard, or leave --logger out'
        )


class MetricLog:
    """Figures by name and step in a folder that TensorBoard reads; does nothing without one."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._name, self._writer = name, None if folder is None else _open_writer(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, figure: str, value: float, step: int) -> None:
        """Note one figure of a step."""
        if self._writer is not None:
            self._writer.add_scalar(f'{self._name}/{figure}', value, step)


def _open_writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # an optional package

    return SummaryWriter(str(folder))
