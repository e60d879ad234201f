"""Train the malicious autoencoder against a frozen network, at a PSNR the user asks for.

The attacker raises the victim's class-weighted cross entropy (void has weight 0). The original
adds a fixed multiple of the distance to the frame, which does not control the strength of the
attack; here the squared change has a budget, 255^2 / 10^(PSNR / 10), and an augmented Lagrangian
holds it, so that one number makes a strong or a stealthy attacker. Source of the loss:
shguan10/cat_coop, 2019; of the constraint: Nocedal and Wright, "Numerical Optimization", 2006,
section 17.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
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
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.schedule import Schedule
from offline_training.learning.session import Session
from offline_training.learning.settings import REQUIRED, setting, settings
from offline_training.learning.store import StorageError
from offline_training.learning.task import Row, Task
from offline_training.learning.training import learn
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
"""Share of their deficit (or surplus) that is added to the PSNR that training aims at."""
START_IMAGES = 16
"""How many images the principal components are taken from."""
HIGHEST_PSNR = 1000.0
"""In dB, above that of any attacker that changes something."""
VALIDATION_FRAMES = 50
"""Most frames, evenly spaced, to validate on: neighbours in a sequence are nearly equal."""


@dataclass(frozen=True)
@settings()
class AttackSettings:
    """How an attacker is trained."""

    psnr: float = setting(
        REQUIRED,
        'Least PSNR in dB between attacked and original images, of the mean squared change: 18 '
        'is visible, 30 hardly.',
        above=0,
        high=100,
    )
    steps: int = setting(300, 'Batches the attacker learns from.', low=1, high=10_000_000)
    batch_size: int = setting(4, 'Images per batch.', low=1, high=10_000)
    learning_rate: float = setting(
        0.05,
        "Adam's, as a multiple of the root mean squared change allowed, of the pixel range.",
        above=0,
        high=100,
    )
    width: int = setting(8, 'Channels of the code; 8 is the original.', low=1, high=4096)
    validate_every: int = setting(
        25, 'Steps between validations; the best attacker is kept.', low=1, high=10_000_000
    )
    seed: int = setting(1, 'Seed of weights and batches.', low=0, high=2**31 - 1)


def victim_weights(labels: Iterable[NDArray[np.uint8]], num_classes: int, outputs: int) -> Tensor:
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

    The watched network does not change: evaluation mode, no gradients in its parameters.
    """

    def __init__(
        self, watched: Watched, train: Frames, val: Frames, settings: AttackSettings
    ) -> None:
        self.watched, self.train, self.val, self.settings = watched, train, val, settings
        device = watched.device
        # The initial weights are replaced at once, so the global random state is left as it was.
        with torch.random.fork_rng(devices=[]):
            self.attacker = MaliciousAutoencoder(settings.width).to(device)
        spread = train.images[:: max(1, len(train) // START_IMAGES)]
        self.attacker.start_from_principal_components(
            _channels_first(torch.from_numpy(np.stack(spread))).to(device)
        )
        with torch.no_grad():
            outputs = watched(torch.from_numpy(train[0][0])[None].to(device)).shape[1]
        self.weights = victim_weights(train.labels, watched.num_classes, outputs).to(device)
        self.constraint = _Constraint(
            settings.psnr,
            {'settings': asdict(settings), 'network': state_hash(watched)},
        )
        self.history: list[Row] = []
        """One row per validation: step, miou (0..1), psnr, mean_psnr, loss, multiplier."""

    def run(self, session: Session) -> MaliciousAutoencoder:
        """Train to the end and return the best attacker, frozen, for the network's colour order.

        The best is the one with the lowest validation mIoU among those that keep the PSNR, or, if
        none does, the one with the highest PSNR.

        Raises:
            StorageError: the checkpoint was written with other settings or for another network.
            FloatingPointError: the loss is no longer a number.
        """
        settings, self.constraint.checkpoint = self.settings, session.checkpoint
        # A stealthy attacker stays closer to its start, so its steps must be smaller.
        peak = settings.learning_rate * squared_change_at(settings.psnr) ** 0.5 / 255
        learned = learn(
            Task(
                'attacker',
                self.attacker,
                self._loss,
                DrawnBatches(
                    len(self.train),
                    lambda index, rng, progress: self.train[index],
                    settings.batch_size,
                    settings.seed,
                    self.watched.device,
                    session,
                    settings.validate_every,
                    settings.steps,
                ),
                torch.optim.Adam(self.attacker.parameters(), peak),
                -(-settings.steps // settings.validate_every),
                "lower the attacker's learning rate",
                settings.seed,
                Schedule('cosine', floor=0.01),
                validate=self._validate,
                report=self._report,
                memory=self.constraint,
            ),
            session,
        )
        self.history = learned.history
        return self.attacker.requires_grad_(False)

    @property
    def keeps_psnr(self) -> bool:
        """Whether the best attacker so far reaches the wanted PSNR on the validation frames."""
        return any(row['psnr'] >= self.settings.psnr for row in self.history)

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        images = _channels_first(images)
        attacked = self.attacker(images)
        cross_entropy = victim_loss(
            channels_first(self.watched)(attacked),
            labels.long(),
            self.weights,
            self.watched.num_classes,
        )
        loss, self.constraint.multiplier = constrained_loss(
            cross_entropy,
            squared_change(attacked, images).mean(),
            squared_change_at(self.constraint.aim),
            self.constraint.multiplier,
        )
        return loss

    def _validate(self, attacker: nn.Module) -> dict[str, float]:
        spacing = -(-len(self.val) // VALIDATION_FRAMES)
        after = answers(self.watched, self.val.subset(range(0, len(self.val), spacing)), attacker)
        miou, wanted = after.matrix.miou('void_ignored'), self.settings.psnr
        # Frames of another sequence are brighter or darker and change by more or less.
        self.constraint.follow(after.psnr)
        return {
            'multiplier': self.constraint.multiplier,
            'miou': miou,
            'psnr': after.psnr,
            'mean_psnr': after.mean_psnr,
            # Any attacker that keeps the PSNR is better than one that does not.
            'score': HIGHEST_PSNR + 1 - miou if after.psnr >= wanted else after.psnr,
        }

    def _report(self, row: Row) -> str:
        return (
            f'attacker: step {row["step"]}, val mIoU {100 * row["miou"]:.2f} at PSNR '
            f'{row["psnr"]:.2f} dB (wanted {self.settings.psnr:g})'
        )


class _Constraint:
    """What holds the PSNR, from step to step: the multiplier and the PSNR that is aimed at."""

    def __init__(self, psnr: float, origin: Mapping[str, Any]) -> None:
        self.multiplier, self.psnr, self.aim, self.origin = 0.0, psnr, psnr + MARGIN_DB, origin
        self.checkpoint: Path | None = None

    def follow(self, reached: float) -> None:
        """Aim higher where the validation frames lack something, lower where they have plenty."""
        lacking = self.psnr + MARGIN_DB - reached
        self.aim = max(self.psnr, self.aim + AIM_RATE * lacking)

    def state_dict(self) -> dict[str, Any]:
        return {**self.origin, 'multiplier': self.multiplier, 'aim': self.aim}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        refuse_other_origin(self.checkpoint, state, self.origin)
        self.multiplier, self.aim = state['multiplier'], state['aim']


def state_hash(module: nn.Module) -> str:
    """Return the SHA-256 of the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def refuse_other_origin(
    checkpoint: Path | None, state: Mapping[str, Any], origin: Mapping[str, Any]
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


def _channels_first(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float()
