"""Metrics of a training for TensorBoard, where it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import Self

from offline_training.learning.settings import ConfigError


class MetricLog:
    """Figures by name and step in a folder that TensorBoard reads; does nothing without one.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._name, self._writer = name, None if folder is None else open_writer(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, figure: str, value: float, step: int) -> None:
        """Note one figure of a step."""
        if self._writer is not None:
            self._writer.add_scalar(f'{self._name}/{figure}', value, step)


def open_writer(folder: Path) -> Any:
    """Open a TensorBoard writer; raises ConfigError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            '--logger tensorboard needs the package tensorboard; install it, or leave it out'
        ) from None
    return SummaryWriter(str(folder))
