"""What a method gives to the training loop, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from offline_training.learning.batches import Batches
from offline_training.learning.schedule import CONSTANT, Schedule

Row = dict[str, Any]
"""Figures of an epoch: epoch, step, progress, loss, minutes, and what `validate` returned."""


class Stateful(Protocol):
    """What a loss remembers from step to step."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Take them back."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """What is learnt: a network by a loss on batches, for how long and how fast."""

    name: str
    """Of bars, messages and metrics."""
    network: nn.Module
    """What learns. All that the loss changes belongs to it."""
    loss: Callable[..., Tensor]
    """The tensors of a batch -> scalar. Draws from torch's global CPU generator, seeded per step,
    so that a resumed training draws what the uninterrupted one does."""
    batches: Batches
    optimizer: torch.optim.Optimizer
    """With the peak learning rates."""
    epochs: int
    remedy: str
    """What to do when the loss is no longer a number: 'lower flow.learning_rate'."""
    seed: int
    schedule: Schedule = CONSTANT
    clip: float | None = None
    """Largest norm of all gradients together."""
    ema_decay: float = 0.0
    """Of the moving average of the weights that is validated and kept; 0 = the weights."""
    mixed: bool = False
    """Convolutions over images: mixed precision on CUDA, and channels last."""
    short_steps: bool = False
    """Of milliseconds: a second CPU thread costs more than it gains once anything else runs."""
    time_limit: float | None = None
    """Seconds by which the schedule is shortened to end."""
    validate: Callable[[nn.Module], Mapping[str, Any]] | None = None
    """Network in evaluation mode -> figures, of which `score` (higher = better) chooses what is
    kept. Called by the first process alone."""
    validate_every: int = 1
    """Epochs."""
    validate_untrained: bool = False
    """The weights that training starts from may be the best."""
    patience: int | None = None
    """Validations without a better score after which training ends."""
    report: Callable[[Row], str] | None = None
    """The line to print after a validation."""
    memory: Stateful | None = None
    """What `loss` and `validate` remember."""


@dataclass(frozen=True)
class Learned:
    """What became of a training."""

    history: list[Row]
    epochs: int
    seconds: float
    best: float
    """Score of the weights that were kept; -inf without a validation that gave a number."""
