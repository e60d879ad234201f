"""How a segmentation network learns: its objective, its samples, its schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline_training.data.base import VOID, DataError
from offline_training.data.frames import Frames
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.schedule import Schedule
from offline_training.learning.session import Session
from offline_training.learning.task import Learned, Row, Task
from offline_training.learning.training import learn
from offline_training.segmentation.augmentation import augment
from offline_training.segmentation.config import BackboneConfig, PhaseConfig
from offline_training.segmentation.losses import segmentation_loss

SCHEDULES = {
    'onecycle': {'fall': 'cosine', 'rise': 'cosine', 'start': 0.04, 'floor': 1e-3},
    'poly': {'fall': 'poly'},
}


def objective(
    network: nn.Module,
    normalize: nn.Module,
    weights: Tensor,
    config: BackboneConfig,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of images uint8 (B, H, W, 3) and labels uint8 (B, H, W), 255 ignored."""
    gamma = config.focal_gamma if config.loss == 'focal' else 0.0

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        logits = network(normalize(images)).float()
        return segmentation_loss(logits, labels.long(), weights, gamma, config.jaccard_weight)

    # `dynamic=False`: a new crop size compiles anew, which is faster than sizes left open.
    return torch.compile(loss, dynamic=False) if config.compile else loss


def phase_at(progress: float, config: BackboneConfig) -> PhaseConfig:
    """Return the phase that a progress in 0..1 falls into."""
    end = 0.0
    for phase in config.phases:
        end += phase.share
        if progress < end - 1e-9:
            return phase
    return config.phases[-1]


def training_labels(
    labels: NDArray[np.uint8], num_classes: int, train_void: bool
) -> NDArray[np.uint8]:
    """Return labels as output channels: with `train_void`, void becomes channel `num_classes`."""
    if not train_void:
        return labels
    return np.asarray(np.where(labels == VOID, num_classes, labels), dtype=np.uint8)


def train_network(
    network: nn.Module,
    normalize: nn.Module,
    frames: Frames,
    num_classes: int,
    weights: NDArray[np.float32],
    config: BackboneConfig,
    validate: Callable[[nn.Module], Mapping[str, Any]],
    session: Session,
) -> Learned:
    """Train `network` in place and leave it with the weights of the best `score`.

    Args:
        network: On its device.
        normalize: Images uint8 (B, H, W, 3) to its input.
        frames: To learn from.
        num_classes: Classes with labels.
        weights: Of the output channels, (C,).
        config: How it learns.
        validate: Network in evaluation mode -> figures; `score` is mIoU in 0..1.
        session: How it runs.

    Raises:
        DataError: `validate` has never given a number.
        FloatingPointError: the loss is no longer a number.
    """
    device = next(network.parameters()).device

    def draw(index: int, rng: np.random.Generator, progress: float) -> tuple[Any, ...]:
        image, labels = frames[index]
        labels = training_labels(labels, num_classes, config.train_void)
        return augment(image, labels, phase_at(progress, config), config.augmentation, rng)

    # Norms and PReLU slopes have no scale to shrink; decay would only pull them to zero.
    groups: list[dict[str, Any]] = [
        {'params': [p for p in network.parameters() if p.ndim > 1]},
        {'params': [p for p in network.parameters() if p.ndim <= 1], 'weight_decay': 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    limit = config.time_limit_minutes
    learned = learn(
        Task(
            'backbone',
            network,
            objective(network, normalize, torch.from_numpy(weights).to(device), config),
            DrawnBatches(
                len(frames),
                draw,
                lambda progress: phase_at(progress, config).batch_size,
                config.seed,
                device,
                session,
            ),
            optimizer,
            config.epochs,
            'lower backbone.learning_rate',
            config.seed,
            Schedule(warmup=config.warmup_share, **SCHEDULES[config.schedule]),  # type: ignore[arg-type]
            ema_decay=config.ema_decay,
            mixed=True,
            time_limit=None if limit is None else 60 * limit,
            validate=validate,
            validate_every=config.validate_every,
            report=_report,
        ),
        session,
    )
    if not np.isfinite(learned.best):
        raise DataError(
            'no validation score was a number, so no weights can be chosen; the validation '
            'split needs pixels with a label other than void'
        )
    return learned


def _report(row: Row) -> str:
    return (
        f'backbone: epoch {row["epoch"]}, {row["progress"]:.0%}, loss {row["loss"]:.3f}, '
        f'val mIoU {100 * row["score"]:.2f}, {row["minutes"]:.1f} min'
    )
