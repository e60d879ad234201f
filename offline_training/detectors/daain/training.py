"""Maximum likelihood training of a flow, and how far its output is from a standard Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offline_training.detectors.daain.flows import Flow
from offline_training.learning.batches import TensorBatches
from offline_training.learning.session import QUIET, Session
from offline_training.learning.task import Task
from offline_training.learning.training import learn

LEARNING_RATE = 2e-4
BETAS = (0.8, 0.8)
EPS = 1e-4
WEIGHT_DECAY = 1e-5
CLIP_NORM = 0.5
BATCH = 64
"""DAAIN's batches of 16 with fourfold accumulation; samples are small enough for one."""
VALIDATION_SHARE = 0.2
PATIENCE = 50
"""Epochs without a better validation loss before training stops."""


@dataclass(frozen=True)
class FlowHistory:
    """What happened per epoch, losses and divergences in nats per dimension."""

    train: tuple[float, ...]
    validation: tuple[float, ...]
    kl: tuple[float, ...]
    """KL(z || N(0, I)) of the validation samples; a Gaussian is fitted to each dimension."""


def negative_log_likelihood(flow: Flow, x: Tensor) -> Tensor:
    """Return mean(0.5 ||z||^2 - log |det J|) / D of samples (B, K, h, w), a scalar in nats."""
    z, log_det = flow(x)
    return (0.5 * z.square().sum(dim=1) - log_det).mean() / flow.dimensions


def gaussian_kl(z: Tensor) -> float:
    """Return KL(z || N(0, I)) per dimension of z (N, D), in nats, from means and variances."""
    variance = z.var(dim=0, unbiased=False).clamp_min(1e-12)
    divergence = 0.5 * (variance + z.mean(dim=0).square() - variance.log() - 1)
    return float(divergence.mean())


def fit_flow(
    flow: Flow, samples: Tensor, epochs: int, seed: int, session: Session = QUIET
) -> FlowHistory:
    """Train `flow` on standardised samples (N, K, h, w) and leave it at its best epoch.

    A fifth of the samples is held out; training stops when they no longer gain. The optimiser and
    its settings are DAAIN's.

    Raises:
        ValueError: fewer than two samples.
        FloatingPointError: the loss is no longer a number.
    """
    if len(samples) < 2:
        raise ValueError('daain needs at least two frames, better hundreds; give more')
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    held_out = max(1, round(VALIDATION_SHARE * len(samples)))
    validation, train = samples[order[:held_out]], samples[order[held_out:]]

    def validate(_: nn.Module) -> dict[str, float]:
        loss = negative_log_likelihood(flow, validation).item()
        kl = gaussian_kl(flow(validation)[0])
        return {'score': -loss, 'validation': loss, 'kl': kl}

    learned = learn(
        Task(
            'daain',
            flow,
            lambda x: negative_log_likelihood(flow, x),
            TensorBatches([train], BATCH, seed),
            torch.optim.Adam(
                flow.parameters(), LEARNING_RATE, BETAS, EPS, weight_decay=WEIGHT_DECAY
            ),
            epochs,
            'give daain more frames or another seed',
            seed,
            clip=CLIP_NORM,
            short_steps=True,
            validate=validate,
            # On few samples any training may be too much.
            validate_untrained=True,
            patience=PATIENCE,
        ),
        session,
    )
    rows = learned.history
    return FlowHistory(
        *(tuple(row[name] for row in rows) for name in ('loss', 'validation', 'kl'))
    )
