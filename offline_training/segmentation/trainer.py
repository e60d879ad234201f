"""Train a segmentation network: schedule, loss, moving average, checkpoints, progress bars."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from offline_training.data.base import DataError
from offline_training.learning.store import read_checkpoint, write_checkpoint
from offline_training.segmentation.augmentation import augment
from offline_training.segmentation.config import BackboneConfig, PhaseConfig
from offline_training.segmentation.losses import segmentation_loss

UInt8Array = NDArray[np.uint8]
CHECKPOINT_SECONDS = 60.0

Objective = Callable[[Tensor, Tensor], Tensor]
"""uint8 images (B, H, W, 3) and int64 labels (B, H, W) -> scalar loss."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A decoded data set in memory: uint8 images (H, W, 3) in model colour order, labels (H, W).

    Labels are output channels of the network; 255 neither trains nor counts.
    """

    images: Sequence[UInt8Array]
    labels: Sequence[UInt8Array]


def learning_rate_factor(progress: float, config: BackboneConfig) -> float:
    """Return the multiple of the peak learning rate at `progress` in 0..1.

    `onecycle` (Smith and Topin 2018): cosine from 1/25 up to 1 within the warm-up, cosine down to
    1e-3. `poly`: linear warm-up, then (1 - t) ** 0.9.
    """
    warmup = config.warmup_share
    if progress < warmup:
        rise = progress / warmup
        if config.schedule == 'poly':
            return max(rise, 0.01)
        return 0.04 + 0.96 * (1 - math.cos(math.pi * rise)) / 2
    fall = min((progress - warmup) / (1 - warmup), 1.0)
    if config.schedule == 'poly':
        return float(max(1 - fall, 1e-3) ** 0.9)
    return float(1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * fall)) / 2)


class Trainer:
    """One training run with its state; `fit` may be interrupted and called again."""

    def __init__(
        self,
        network: nn.Module,
        normalize: nn.Module,
        data: LabelledImages,
        weights: NDArray[np.float32],
        config: BackboneConfig,
        device: torch.device,
        checkpoint: Path,
    ) -> None:
        self.config, self.data, self.device, self.checkpoint = config, data, device, checkpoint
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.normalize = normalize.to(device)
        self.weights = torch.from_numpy(weights).to(device)
        decayed = [p for p in network.parameters() if p.ndim > 1]
        # Norms and PReLU slopes have no scale to shrink; decay would only pull them to zero.
        others = [p for p in network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {'params': decayed, 'weight_decay': config.weight_decay},
                {'params': others, 'weight_decay': 0.0},
            ],
            lr=config.learning_rate,
        )
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.best: dict[str, Tensor] | None = None
        self.progress, self.steps, self.epoch, self.elapsed = 0.0, 0, 0, 0.0
        self.best_score = -1.0
        self.history: list[dict[str, float]] = []

    def resume(self) -> bool:
        """Continue from the checkpoint; False when there is none."""
        state = read_checkpoint(self.checkpoint)
        if state is None:
            return False
        self.network.load_state_dict(state['network'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.average = {k: v.to(self.device) for k, v in state['average'].items()}
        self.best = state['best']
        for name in ('progress', 'steps', 'epoch', 'elapsed', 'best_score', 'history'):
            setattr(self, name, state[name])
        return True

    def save(self) -> None:
        """Write the whole state atomically."""
        state: dict[str, Any] = {
            'network': self.network.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'average': self.average,
            'best': self.best,
        }
        for name in ('progress', 'steps', 'epoch', 'elapsed', 'best_score', 'history'):
            state[name] = getattr(self, name)
        write_checkpoint(self.checkpoint, state)

    def phase(self) -> PhaseConfig:
        """Return the phase that the current progress falls into."""
        end = 0.0
        for phase in self.config.phases:
            end += phase.share
            if self.progress < end - 1e-9:
                return phase
        return self.config.phases[-1]

    def fit(
        self,
        validate: Callable[[nn.Module], float],
        bars: Progress,
    ) -> dict[str, Tensor]:
        """Train to the end and return the best state by `validate` (higher is better).

        `validate` gets the network in evaluation mode with the averaged weights.

        Raises:
            DataError: `validate` has never returned a number.
        """
        objective = self._objective
        if self.config.compile:
            objective = torch.compile(objective, dynamic=False)
        bar = bars.add_task('backbone', total=1.0)
        saved = time.monotonic()
        while self.progress < 1:
            loss = self._epoch(objective, bars, bar)
            self.epoch += 1
            record = {
                'epoch': self.epoch,
                'progress': self.progress,
                'loss': loss,
                'minutes': self.elapsed / 60,
            }
            if self.epoch % self.config.validate_every == 0 or self.progress >= 1:
                record['score'] = self._validate(validate)
                bars.console.print(
                    f'backbone: epoch {self.epoch}, {self.progress:.0%}, loss {loss:.3f}, '
                    f'val mIoU {100 * record["score"]:.2f} (best {100 * self.best_score:.2f}), '
                    f'{self.elapsed / 60:.1f} min'
                )
            self.history.append(record)
            if time.monotonic() - saved > CHECKPOINT_SECONDS or self.progress >= 1:
                self.save()
                saved = time.monotonic()
        if self.best is None:
            raise DataError(
                'no validation score was a number, so no weights can be chosen; the validation '
                'split needs pixels with a label other than void'
            )
        return self.best

    def _epoch(self, objective: Objective, bars: Progress, bar: Any) -> float:
        """Run one pass over the data (or up to the end of the schedule); return the mean loss."""
        phase = self.phase()
        # A generator per epoch makes a resumed run draw what the uninterrupted run draws.
        rng = np.random.default_rng([self.config.seed, self.epoch])
        order = rng.permutation(len(self.data.images))
        batches = max(1, len(order) // phase.batch_size)
        limit = self.config.time_limit_minutes
        self.network.train()
        total, count = 0.0, 0
        for index in range(batches):
            began = time.monotonic()
            chosen = order[index * phase.batch_size : (index + 1) * phase.batch_size]
            factor = learning_rate_factor(self.progress, self.config)
            for group in self.optimizer.param_groups:
                group['lr'] = self.config.learning_rate * factor
            total += self._step(objective, chosen, phase, rng)
            count += 1
            self.steps += 1
            self.elapsed += time.monotonic() - began
            advance = 1 / (self.config.epochs * batches)
            self.progress += advance
            if limit is not None:
                self.progress = max(self.progress, self.elapsed / (60 * limit))
            if self.progress >= 1 - advance / 2:
                self.progress = 1.0
            bars.update(
                bar,
                completed=self.progress,
                description=f'backbone epoch {self.epoch + 1} loss {total / count:.3f}',
            )
            if self.progress >= 1:
                break
        return total / count

    def _step(
        self,
        objective: Objective,
        chosen: NDArray[np.int64],
        phase: PhaseConfig,
        rng: np.random.Generator,
    ) -> float:
        pairs = [
            augment(self.data.images[i], self.data.labels[i], phase, self.config.augmentation, rng)
            for i in chosen
        ]
        images = torch.from_numpy(np.stack([image for image, _ in pairs])).to(self.device)
        labels = torch.from_numpy(np.stack([label for _, label in pairs])).to(self.device).long()
        loss = objective(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._update_average()
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f'the backbone loss became {value} at step {self.steps}; lower '
                'backbone.learning_rate and start the stage again'
            )
        return value

    def _objective(self, images: Tensor, labels: Tensor) -> Tensor:
        # Float32 only: bfloat16 gives NaN gradients in dilated CPU convolutions (torch 2.15).
        logits = self.network(self.normalize(images))
        gamma = self.config.focal_gamma if self.config.loss == 'focal' else 0.0
        return segmentation_loss(logits, labels, self.weights, gamma, self.config.jaccard_weight)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young averages follow quickly, or the random start would stay in them for long.
        decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point and decay > 0:
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _validate(self, validate: Callable[[nn.Module], float]) -> float:
        """Score the averaged weights and keep them if they are the best so far."""
        began = time.monotonic()
        current = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        try:
            with torch.inference_mode():
                score = validate(self.network)
        finally:
            self.network.load_state_dict(current)
        if score > self.best_score:
            self.best_score = score
            self.best = {k: v.detach().cpu().clone() for k, v in self.average.items()}
        self.elapsed += time.monotonic() - began
        return score
