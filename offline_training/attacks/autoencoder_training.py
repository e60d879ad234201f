"""Train the malicious autoencoder against a frozen network, at a PSNR the user asks for.

The attacker raises the victim's class-weighted cross entropy (void has weight 0). The original
adds a fixed multiple of the distance to the frame, which leaves the strength of the attack to
chance; here the squared change has a budget, 255^2 / 10^(PSNR / 10), and an augmented Lagrangian
holds it, so that one number makes a strong or a stealthy attacker. Source of the loss:
shguan10/cat_coop, 2019; of the constraint: Nocedal and Wright, "Numerical Optimization", 2006,
section 17.4.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from offline_training.attacks.attack_damage import answers
from offline_training.attacks.gradient_sign import channels_first
from offline_training.attacks.malicious_autoencoder import (
    MaliciousAutoencoder,
    squared_change,
    squared_change_at,
)
from offline_training.data.base import VOID
from offline_training.data.frames import Frames
from offline_training.learning.store import StorageError, read_checkpoint, write_checkpoint
from offline_training.segmentation.class_weights import class_weights
from offline_training.watched.base import Watched

ENET_OFFSET = 1.02
"""c of the ENet class weights 1 / ln(c + p)."""
STIFFNESS = 20.0
"""Weight of the squared excess over the budget, in nats of cross entropy per squared log ratio."""
MULTIPLIER_RATE = 1.0
"""How fast the multiplier follows the excess, per step."""
MARGIN_DB = 0.1
"""How much above the wanted PSNR the validation frames are to be."""
AIM_RATE = 0.5
"""How much of what they lack (or have too much) is added to what training aims at."""
START_IMAGES = 16
"""How many images the principal components are taken from."""
VALIDATION_FRAMES = 50
"""At most so many evenly spaced frames are validated on: neighbours in a drive are near copies."""


@dataclass(frozen=True)
class AttackSettings:
    """How an attacker is trained."""

    psnr: float
    """Least PSNR in dB between attacked and original frames, of the mean squared change."""
    steps: int = 300
    batch_size: int = 4
    learning_rate: float = 0.05
    """Adam's, as a multiple of the root mean squared change allowed, of the pixel range."""
    width: int = 8
    validate_every: int = 25
    """Steps between validations; the best attacker is kept."""
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.psnr < 100:
            raise ValueError(f'psnr is {self.psnr} but must be above 0 and below 100 dB')
        for name in ('steps', 'batch_size', 'width', 'validate_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)} but must be at least 1')
        if not self.learning_rate > 0:
            raise ValueError(f'learning_rate is {self.learning_rate} but must be above 0')


def victim_weights(labels: list[NDArray[np.uint8]], num_classes: int, outputs: int) -> Tensor:
    """Return the ENet weights (outputs,) of the classes; outputs that are void have weight 0."""
    known = (np.where(part < num_classes, part, VOID).astype(np.uint8) for part in labels)
    return torch.from_numpy(class_weights(known, outputs, 'enet', ENET_OFFSET))


def victim_loss(logits: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """Return the class-weighted cross entropy of logits (B, C, H, W); labels beyond are void."""
    known = torch.where(labels < num_classes, labels, VOID)
    return F.cross_entropy(logits, known, weights, ignore_index=VOID)


def constrained_loss(
    cross_entropy: Tensor, squared_error: Tensor, budget: float, multiplier: float
) -> tuple[Tensor, float]:
    """Return what the attacker minimises, and the multiplier of the next step.

    The constraint is c = ln(squared_error / budget) <= 0; the logarithm makes it as stiff at 40 dB
    as at 15. With r the stiffness the loss is max(0, multiplier + r c)^2 / 2r - cross_entropy, so
    an attacker well within its budget is free, and the multiplier grows by c while it is not.
    """
    excess = (squared_error / budget).clamp_min(1e-12).log()
    pull = (multiplier + STIFFNESS * excess).clamp_min(0)
    following = max(0.0, multiplier + MULTIPLIER_RATE * float(excess.detach()))
    return pull.square() / (2 * STIFFNESS) - cross_entropy, following


class AutoencoderTraining:
    """One training of an attacker; `run` may be interrupted and called again.

    The watched network is only asked: evaluation mode, no gradients in its parameters. A random
    draw depends on seed and step alone, so a resumed training ends where the uninterrupted one
    does.

    Raises:
        StorageError: the checkpoint was written with other settings or for another network.
    """

    def __init__(
        self,
        watched: Watched,
        train: Frames,
        val: Frames,
        settings: AttackSettings,
        checkpoint: Path | None = None,
    ) -> None:
        self.watched, self.train, self.val = watched, train, val
        self.settings, self.checkpoint = settings, checkpoint
        self.origin = {'settings': dataclasses.asdict(settings), 'network': state_hash(watched)}
        device = watched.device
        # Its random weights are replaced at once; nobody's random numbers shall move for them.
        with torch.random.fork_rng(devices=[]):
            self.attacker = MaliciousAutoencoder(settings.width).to(device)
        spread = np.stack(train.images[:: max(1, len(train.images) // START_IMAGES)])
        self.attacker.start_from_principal_components(_channels_first(spread).to(device))
        # A stealthy attacker differs from the start by less, so it must walk in smaller steps.
        self.peak_rate = settings.learning_rate * squared_change_at(settings.psnr) ** 0.5 / 255
        self.optimizer = torch.optim.Adam(self.attacker.parameters(), self.peak_rate)
        with torch.no_grad():
            outputs = watched(torch.from_numpy(train.images[0])[None].to(device)).shape[1]
        self.weights = victim_weights(list(train.labels), watched.num_classes, outputs).to(device)
        self.step, self.multiplier, self.aim = 0, 0.0, settings.psnr + MARGIN_DB
        self.best: dict[str, Tensor] | None = None
        self.history: list[dict[str, float]] = []
        """One row per validation: step, miou (0..1), psnr, mean_psnr, loss, multiplier."""
        if checkpoint is not None and (state := read_checkpoint(checkpoint)) is not None:
            refuse_other_origin(checkpoint, state, self.origin)
            self._restore(state)

    def run(self, bars: Progress) -> MaliciousAutoencoder:
        """Train to the end and return the best attacker, frozen, for the network's colour order.

        The best is the one with the lowest validation mIoU among those that keep the PSNR, or, if
        none does, the one with the highest PSNR.
        """
        settings = self.settings
        bar = bars.add_task('attacker', total=settings.steps, completed=self.step)
        losses: list[float] = []
        while self.step < settings.steps:
            losses.append(self._train_step())
            bars.update(bar, completed=self.step)
            if self.step % settings.validate_every == 0 or self.step == settings.steps:
                self._validate(float(np.mean(losses)))
                losses = []
                row = self.history[-1]
                bars.console.print(
                    f'attacker: step {self.step}, val mIoU {100 * row["miou"]:.2f} at PSNR '
                    f'{row["psnr"]:.2f} dB (wanted {settings.psnr:g})'
                )
                self._save()
        assert self.best is not None
        self.optimizer.zero_grad(set_to_none=True)
        self.attacker.load_state_dict(self.best)
        return self.attacker.eval().requires_grad_(False)

    @property
    def keeps_psnr(self) -> bool:
        """Whether the best attacker so far reaches the wanted PSNR on the validation frames."""
        return any(row['psnr'] >= self.settings.psnr for row in self.history)

    def _train_step(self) -> float:
        settings, device = self.settings, self.watched.device
        for group in self.optimizer.param_groups:
            group['lr'] = self.peak_rate * _cosine(self.step / settings.steps)
        chosen = batch_indices(
            len(self.train.images), settings.batch_size, self.step, settings.seed
        )
        images = _channels_first(np.stack([self.train.images[i] for i in chosen])).to(device)
        labels = torch.from_numpy(np.stack([self.train.labels[i] for i in chosen])).long()
        attacked = self.attacker(images)
        cross_entropy = victim_loss(
            channels_first(self.watched)(attacked),
            labels.to(device),
            self.weights,
            self.watched.num_classes,
        )
        loss, self.multiplier = constrained_loss(
            cross_entropy,
            squared_change(attacked, images).mean(),
            squared_change_at(self.aim),
            self.multiplier,
        )
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f'the loss of the attacker became {loss.item()} at step {self.step}; lower its '
                'learning rate and start again'
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def _validate(self, loss: float) -> None:
        spacing = -(-len(self.val.images) // VALIDATION_FRAMES)
        samples = zip(self.val.images[::spacing], self.val.labels[::spacing], strict=True)
        after = answers(self.watched, samples, self.attacker)
        row = {
            'step': self.step,
            'loss': loss,
            'multiplier': self.multiplier,
            'miou': after.matrix.miou('void_ignored'),
            'psnr': after.psnr,
            'mean_psnr': after.mean_psnr,
        }
        if all(self._rank(row) > self._rank(other) for other in self.history):
            state = self.attacker.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        self.history.append(row)
        # Frames of another drive are brighter or darker and change by more or less.
        lacking = self.settings.psnr + MARGIN_DB - row['psnr']
        self.aim = max(self.settings.psnr, self.aim + AIM_RATE * lacking)

    def _rank(self, row: dict[str, float]) -> tuple[bool, float]:
        kept = row['psnr'] >= self.settings.psnr
        return kept, -row['miou'] if kept else row['psnr']

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        write_checkpoint(
            self.checkpoint,
            {
                **self.origin,
                'attacker': self.attacker.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'best': self.best,
                'step': self.step,
                'multiplier': self.multiplier,
                'aim': self.aim,
                'history': self.history,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.attacker.load_state_dict(state['attacker'])
        self.optimizer.load_state_dict(state['optimizer'])
        for name in ('best', 'step', 'multiplier', 'aim', 'history'):
            setattr(self, name, state[name])


def state_hash(module: nn.Module) -> str:
    """Return the SHA-256 of the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def refuse_other_origin(
    checkpoint: Path, state: Mapping[str, Any], origin: Mapping[str, Any]
) -> None:
    """Raise StorageError unless `state` was written with the settings and network of `origin`."""
    if state.get('settings') != origin['settings']:
        raise StorageError(
            f'{checkpoint} was written with other settings ({state.get("settings")}); use those, '
            'or delete it to start anew'
        )
    if state.get('network') != origin['network']:
        raise StorageError(
            f'{checkpoint} was written for other weights of the network; give those, or delete it '
            'to start anew'
        )


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> NDArray[np.int64]:
    """Return which of `count` images make the batch of `step`: each once per epoch, shuffled."""
    size = min(batch_size, count)
    epoch, place = divmod(step, count // size)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.asarray(order[place * size : (place + 1) * size])


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def _cosine(progress: float) -> float:
    """Return the multiple of the learning rate at `progress` in 0..1: 1 falling to 0.01."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2
