"""Adversarial training with the malicious autoencoder: attacker and victim are trained in turn.

Only a copy of the victim is trained; the watched network does not change. While one side is
trained, the other is frozen. Source: shguan10/cat_coop, 2019 (its freeze switch).
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from offline_training.attacks.attack_damage import answers
from offline_training.attacks.autoencoder_training import (
    AttackSettings,
    AutoencoderTraining,
    refuse_other_origin,
    state_hash,
    victim_loss,
    victim_weights,
)
from offline_training.attacks.malicious_autoencoder import MaliciousAutoencoder
from offline_training.data.frames import Frames
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.session import Session
from offline_training.learning.settings import REQUIRED, setting, settings
from offline_training.learning.store import StorageError, read_checkpoint, write_checkpoint
from offline_training.learning.task import Task
from offline_training.learning.training import learn
from offline_training.watched.base import Watched


@dataclass(frozen=True)
@settings()
class VictimSettings:
    """How the victim's copy is trained against the attacker, in each round."""

    rounds: int = setting(
        REQUIRED, 'Attacker and victim learn in turn this many times.', low=1, high=10_000
    )
    steps: int = setting(200, 'Batches the victim learns from per round.', low=1, high=10_000_000)
    learning_rate: float = setting(2e-4, "Adam's, of the victim.", above=0, high=1)
    clean_share: float = setting(
        0.5,
        'Weight of the loss on images that are not attacked; without them the victim forgets.',
        low=0,
        high=0.99,
    )


def trainable_copy(watched: Watched) -> Watched:
    """Return a trainable copy; it shares no tensor with the watched network.

    It stays in evaluation mode: its batch statistics are those of normal driving, and attacked
    images must not move them.
    """
    victim = copy.deepcopy(watched)
    victim.network.requires_grad_(True)
    return victim


def harden(
    victim: Watched,
    attacker: nn.Module,
    train: Frames,
    attack: AttackSettings,
    settings: VictimSettings,
    seed: int,
    session: Session,
) -> float:
    """Train `victim` (see `trainable_copy`) on attacked and clean frames; return the mean loss.

    The attacker does not change. Batches are as large as the attack's.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    device = victim.device
    with torch.no_grad():
        outputs = victim(torch.from_numpy(train[0][0])[None].to(device)).shape[1]
    weights = victim_weights(train.labels, victim.num_classes, outputs).to(device)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        clean = images.float()
        with torch.no_grad():
            attacked = attacker(clean.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        value = torch.zeros((), device=device)
        for shown, share in (
            (attacked, 1 - settings.clean_share),
            (clean, settings.clean_share),
        ):
            if share > 0:
                answer = victim(shown)
                value = value + share * victim_loss(
                    answer, labels.long(), weights, victim.num_classes
                )
        return value

    learned = learn(
        Task(
            'victim',
            victim,
            loss,
            DrawnBatches(
                len(train),
                lambda index, rng, progress: train[index],
                attack.batch_size,
                seed,
                device,
                session,
                settings.steps,
            ),
            torch.optim.Adam(
                [p for p in victim.network.parameters() if p.requires_grad],
                settings.learning_rate,
            ),
            1,
            "lower the victim's learning rate",
            seed,
        ),
        session,
    )
    return float(learned.history[-1]['loss'])


def train_alternately(
    watched: Watched,
    train: Frames,
    val: Frames,
    attack: AttackSettings,
    settings: VictimSettings,
    folder: Path,
    session: Session,
) -> tuple[MaliciousAutoencoder, nn.Module, list[dict[str, Any]]]:
    """Train a new attacker and then the victim, round after round, and one last attacker.

    Returns the last attacker, the hardened copy of the network, and one row per round: the copy's
    validation mIoU (0..1) clean, under the attacker of the round (`attacked`, at its `psnr` in
    dB), and, once it has learnt, under that same attacker again (`hardened`). Only the last row
    has no `hardened`: it tells what an attacker trained against the hardened victim still
    achieves. Continues from the checkpoints in `folder`; more rounds may follow those that are
    done.

    Raises:
        StorageError: the checkpoints are of other settings, another network, or more rounds.
    """
    victim = trainable_copy(watched)
    path = folder / 'victim.pt'
    rows: list[dict[str, Any]] = []
    victim_settings = asdict(settings)
    del victim_settings['rounds']
    origin = {
        'settings': {'attack': asdict(attack), 'victim': victim_settings},
        'network': state_hash(watched),
    }
    if state := read_checkpoint(path):
        refuse_other_origin(path, state, origin)
        rows = state['rows']
        if len(rows) > settings.rounds:
            raise StorageError(
                f'{path} holds {len(rows)} rounds but {settings.rounds} are wanted; ask for at '
                f'least {len(rows)}, or delete {folder} to start anew'
            )
        victim.network.load_state_dict(state['victim'])
    while True:
        number = len(rows)
        victim.network.requires_grad_(False)
        training = AutoencoderTraining(victim, train, val, attack)
        attacker = training.run(replace(session, checkpoint=folder / f'attacker{number}.pt'))
        attacked = answers(victim, val, attacker)
        row: dict[str, Any] = {
            'round': number,
            'clean': answers(victim, val).matrix.miou('void_ignored'),
            'attacked': attacked.matrix.miou('void_ignored'),
            'psnr': attacked.psnr,
        }
        if number == settings.rounds:
            return attacker, victim.network.eval(), [*rows, row]
        victim.network.requires_grad_(True)
        harden(
            victim,
            attacker,
            train,
            attack,
            settings,
            attack.seed + number,
            replace(session, checkpoint=folder / f'victim{number}.pt'),
        )
        row['hardened'] = answers(victim, val, attacker).matrix.miou('void_ignored')
        session.console.print(
            f'round {number}: val mIoU clean {100 * row["clean"]:.2f}, attacked '
            f'{100 * row["attacked"]:.2f} at PSNR {row["psnr"]:.2f} dB, hardened '
            f'{100 * row["hardened"]:.2f}'
        )
        rows.append(row)
        write_checkpoint(
            path,
            {
                **origin,
                'victim': victim.network.state_dict(),
                'rows': rows,
            },
        )
