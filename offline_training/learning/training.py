"""The one training loop: what a method learns is a `Task`, how it runs a `Session`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from offline_training.learning import ranks
from offline_training.learning.interrupt import deferred_interrupt
from offline_training.learning.metrics import MetricLog
from offline_training.learning.progress import progress
from offline_training.learning.session import Session
from offline_training.learning.store import read_checkpoint, write_checkpoint
from offline_training.learning.task import Learned, Row, Stateful, Task

FIRST_SAVE, SAVE_EVERY = 15.0, 60.0
"""Seconds after which a training is kept for the first time, and then each time."""
CHECK_EVERY = 50
"""Steps between looks at the loss: each waits for the device."""


@dataclass
class Position:
    """Where a training is."""

    epoch: int = 0
    batch: int = 0
    """Next of this epoch."""
    step: int = 0
    progress: float = 0.0
    began: float = 0.0
    """Progress at the start of this epoch."""
    seconds: float = 0.0
    loss: float = 0.0
    """Sum over the batches of this epoch."""
    best: float = -math.inf
    stale: int = 0
    """Validations since the best."""


def learn(task: Task, session: Session) -> Learned:
    """Train `task.network` in place and leave it with its best weights, in evaluation mode.

    Continues from the session's checkpoint. Leaves the global random numbers alone.

    Raises:
        FloatingPointError: the loss is no longer a number.
        KeyboardInterrupt: after Ctrl-C, when the step is done and saved.
    """
    device = next(task.network.parameters()).device
    threads = torch.get_num_threads()
    if task.short_steps:
        torch.set_num_threads(1)
    try:
        return _learn(task, session, device)
    finally:
        torch.set_num_threads(threads)


def _learn(task: Task, session: Session, device: torch.device) -> Learned:
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        return _Run(task, session, device).to_the_end()


class _Run:
    def __init__(self, task: Task, session: Session, device: torch.device) -> None:
        self.task, self.session, self.device = task, session, device
        self.network, self.at = task.network, Position()
        self.history: list[Row] = []
        self.best: dict[str, Tensor] | None = None
        if task.mixed:
            self.network.to(memory_format=torch.channels_last)
        self.average = (
            AveragedModel(self.network, multi_avg_fn=self._average, use_buffers=True)
            if task.ema_decay
            else None
        )
        self.peaks = [group['lr'] for group in task.optimizer.param_groups]
        mixed = task.mixed and device.type == 'cuda'
        narrow = mixed and not torch.cuda.is_bf16_supported()
        half = torch.float16 if narrow else torch.bfloat16
        self.autocast = torch.autocast(device.type, half, enabled=mixed)
        self.scaler = torch.amp.GradScaler(device.type, enabled=narrow)
        self.summed = torch.zeros((), device=device)
        self._restore()
        self.loss: Callable[..., Tensor] = task.loss
        if ranks.ranks() > 1:
            self.loss = DistributedDataParallel(_Loss(task))
        self.log = MetricLog(session.log_dir if ranks.rank() == 0 else None, task.name)
        self.next_save = time.monotonic() + FIRST_SAVE

    def to_the_end(self) -> Learned:
        task, at = self.task, self.at
        bars = progress(self.session.console)
        bars.disable = not (self.session.bars and bars.console.is_terminal and ranks.rank() == 0)
        with bars, self.log, deferred_interrupt() as interrupted:
            bar = bars.add_task(task.name, total=1.0)
            if task.validate_untrained and at.step == 0:
                self._validate()
            while at.began < 1 and (task.patience is None or at.stale < task.patience):
                self._epoch(bars, bar, interrupted)
            self._save()
        kept = self.best
        if kept is None and self.average is not None:
            kept = self.average.module.state_dict()
        if kept is not None:
            self.network.load_state_dict(kept)
        ranks.spread(self.network)
        task.optimizer.zero_grad(set_to_none=True)
        self.network.eval()
        return Learned(self.history, at.epoch, at.seconds, at.best)

    def _epoch(self, bars: Progress, bar: Any, interrupted: Callable[[], bool]) -> None:
        task, at = self.task, self.at
        self.network.train()
        count = task.batches.count(at.epoch, at.began)
        clock = time.monotonic()
        for batch in task.batches.epoch(at.epoch, at.began, at.batch):
            self._step(batch)
            at.batch += 1
            at.step += 1
            now = time.monotonic()
            at.seconds += now - clock
            clock = now
            at.progress += 1 / (task.epochs * count)
            if task.time_limit is not None:
                at.progress = ranks.agree(max(at.progress, at.seconds / task.time_limit))
            if at.progress >= 1 - 0.5 / (task.epochs * count):
                at.progress = 1.0
            bars.update(
                bar, completed=at.progress, description=f'{task.name}, epoch {at.epoch + 1}'
            )
            if at.step % CHECK_EVERY == 0:
                self.log.add('loss', self._check() / at.batch, at.step)
                self.log.add('learning_rate', task.optimizer.param_groups[0]['lr'], at.step)
            if now >= self.next_save:
                self._save()
            # One decides for all: the others end when it is gone.
            if ranks.rank() == 0 and interrupted():
                self._save()
                raise KeyboardInterrupt
            if at.progress >= 1:
                break
        ranks.spread(self.network, buffers_only=True)
        self._finish_epoch()

    def _step(self, batch: Sequence[Tensor]) -> None:
        task = self.task
        seed = np.random.SeedSequence([task.seed, self.at.step, ranks.rank()])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        factor = task.schedule(self.at.progress)
        for group, peak in zip(task.optimizer.param_groups, self.peaks, strict=True):
            group['lr'] = peak * factor
        with self.autocast:
            loss = self.loss(*batch)
        task.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if task.clip is not None:
            self.scaler.unscale_(task.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), task.clip)
        self.scaler.step(task.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.summed += loss.detach().float()

    def _finish_epoch(self) -> None:
        task, at = self.task, self.at
        row: Row = {
            'epoch': at.epoch + 1,
            'step': at.step,
            'progress': at.progress,
            'loss': self._check() / max(1, at.batch),
            'minutes': at.seconds / 60,
        }
        at.epoch, at.batch, at.began, at.loss = at.epoch + 1, 0, at.progress, 0.0
        if task.validate and (at.epoch % task.validate_every == 0 or at.progress >= 1):
            row.update(self._validate())
            if task.report is not None and ranks.rank() == 0:
                self.session.console.print(task.report(row))
        self.history.append(row)

    def _check(self) -> float:
        """Return the sum of the epoch's losses, and refuse it if it is no longer a number."""
        self.at.loss += float(ranks.mean(self.summed))
        self.summed.zero_()
        if not math.isfinite(self.at.loss):
            raise FloatingPointError(
                f'the loss of {self.task.name} became {self.at.loss} by step {self.at.step}; '
                f'{self.task.remedy} and start again'
            )
        return self.at.loss

    def _validate(self) -> Mapping[str, Any]:
        """Score the weights and keep them if they are the best so far."""
        assert self.task.validate is not None
        network, at, began = self.network, self.at, time.monotonic()
        if self.average is not None:
            network = self.average.module
        figures: Mapping[str, Any] = {}
        if ranks.rank() == 0:
            network.eval()
            with torch.inference_mode():
                figures = {k: float(v) for k, v in self.task.validate(network).items()}
            for name, value in figures.items():
                self.log.add(name, value, at.step)
        score = ranks.agree(float(figures.get('score', math.nan)))
        at.stale += 1
        if score > at.best:
            at.best, at.stale = score, 0
            self.best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        at.seconds = ranks.agree(at.seconds + time.monotonic() - began)
        return figures

    @torch.no_grad()
    def _average(self, mean: Iterable[Tensor], now: Iterable[Tensor], _: Any) -> None:
        # Young averages follow quickly, or the random start would stay in them for long.
        decay = min(self.task.ema_decay, (1 + self.at.step) / (10 + self.at.step))
        for old, new in zip(mean, now, strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(new)

    def _parts(self) -> dict[str, Stateful]:
        parts: dict[str, Any] = {
            # First, for it may refuse a checkpoint of another origin.
            'memory': self.task.memory,
            'network': self.network,
            'optimizer': self.task.optimizer,
            'scaler': self.scaler,
            'average': self.average,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _save(self) -> None:
        """Keep everything; never weights that have diverged."""
        self.next_save = time.monotonic() + SAVE_EVERY
        if self.session.checkpoint is None or ranks.rank() > 0:
            return
        if not torch.isfinite(self.summed):
            return
        state: dict[str, Any] = {n: part.state_dict() for n, part in self._parts().items()}
        state |= {'position': asdict(self.at), 'history': self.history, 'best': self.best}
        state['summed'] = self.summed
        write_checkpoint(self.session.checkpoint, state)

    def _restore(self) -> None:
        path = self.session.checkpoint
        state = None if path is None else read_checkpoint(path)
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.at = Position(**state['position'])
        self.history, self.best = state['history'], state['best']
        self.summed.copy_(state['summed'])
        if ranks.rank() == 0:
            self.session.console.print(
                f'{self.task.name}: continuing after epoch {self.at.epoch}, step {self.at.step}'
            )


class _Loss(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees the whole step."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.network, self.loss = task.network, task.loss

    def forward(self, *batch: Tensor) -> Tensor:
        return self.loss(*batch)
