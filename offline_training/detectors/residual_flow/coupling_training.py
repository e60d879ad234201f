"""Maximum likelihood training of the couplings of all classes of a layer at once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from offline_training.detectors.layer_density.residual_couplings import ClassCouplings
from offline_training.learning.batches import Steps
from offline_training.learning.session import QUIET, Session
from offline_training.learning.task import Task
from offline_training.learning.training import learn

EVALUATE_EVERY = 20
"""Training steps between two looks at the held-out likelihood."""
PATIENCE = 5
"""Looks without progress in any class after which training stops."""


def by_class(x: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sort vectors (N, D) of classes (N,) into (M, K, D), padded with zeros, and sizes (K,)."""
    sizes = torch.bincount(classes, minlength=count)
    order = classes.argsort(stable=True)
    first = sizes.cumsum(0) - sizes
    row = torch.arange(len(x), device=x.device) - first[classes[order]]
    table = x.new_zeros(int(sizes.max()), count, x.shape[1])
    table[row, classes[order]] = x[order]
    return table, sizes


def negative_log_likelihood(couplings: ClassCouplings, z: Tensor) -> Tensor:
    """Return -log p (N, K) of whitened vectors (N, K, D), in nats up to a constant."""
    z, log_det = couplings(z)
    return 0.5 * (z * z).sum(dim=-1) - log_det


def train_couplings(
    couplings: ClassCouplings,
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    steps: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    session: Session = QUIET,
) -> Tensor:
    """Maximise the likelihood of `train`; every class keeps the state that is best on `valid`.

    Both are tables of `by_class`. A class without progress on its held-out vectors, or without any
    of them, stays the Gaussian. Returns the gain per class in nats per held-out vector, (K,).
    """
    table, sizes = train
    held_out, held_sizes = valid
    index = torch.arange(len(sizes), device=table.device)
    counted = torch.arange(len(held_out), device=table.device)[:, None] < held_sizes
    learning = (sizes > 0) & (held_sizes > 0)

    def held_out_loss() -> Tensor:
        loss = negative_log_likelihood(couplings, held_out) * counted
        return loss.sum(dim=0).detach() / held_sizes.clamp_min(1)

    first = held_out_loss()
    best, kept = first, [p.detach().clone() for p in couplings.parameters()]
    progresses = 0

    def loss() -> Tensor:
        draw = torch.rand(batch_size, len(sizes)).to(table.device)
        row = (draw * sizes).long()
        each = negative_log_likelihood(couplings, table[row, index]).mean(dim=0)
        # A class that diverged keeps its best state; the others learn on.
        return each.where(learning & each.isfinite(), 0).sum()

    def keep_best(_: nn.Module) -> dict[str, float]:
        nonlocal best, progresses
        now = held_out_loss()
        better = learning & (now < best)  # not where it diverged to NaN
        best = torch.where(better, now, best)
        for old, new in zip(kept, couplings.parameters(), strict=True):
            old[better] = new[better]
        progresses += int(better.any())
        return {'score': progresses}

    if steps and learning.any():
        learn(
            Task(
                'residual_flow',
                couplings,
                loss,
                Steps(steps, EVALUATE_EVERY),
                torch.optim.Adam(couplings.parameters(), lr=learning_rate),
                -(-steps // EVALUATE_EVERY),
                'lower learning_rate of residual_flow',
                seed,
                short_steps=True,
                validate=keep_best,
                patience=PATIENCE,
            ),
            # It takes seconds, and what each class keeps is not in a checkpoint.
            replace(session, checkpoint=None),
        )
    with torch.no_grad():
        for old, new in zip(kept, couplings.parameters(), strict=True):
            new.copy_(old)
    return first - best
