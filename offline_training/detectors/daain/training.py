"""Maximum likelihood training of a flow, and how far its output is from a standard Gaussian."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offline_training.detectors.daain.flows import Flow

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


def fit_flow(flow: Flow, samples: Tensor, epochs: int, seed: int) -> FlowHistory:
    """Train `flow` on standardised samples (N, K, h, w) and leave it at its best epoch.

    A fifth of the samples is held out; training stops when they no longer gain. The optimiser and
    its settings are DAAIN's.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(samples) < 2:
        raise ValueError('daain needs at least two frames, better hundreds; give more')
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator)
    held_out = max(1, round(VALIDATION_SHARE * len(samples)))
    validation, train = samples[order[:held_out]], samples[order[held_out:]]
    optimizer = torch.optim.Adam(
        flow.parameters(), LEARNING_RATE, BETAS, EPS, weight_decay=WEIGHT_DECAY
    )
    losses: list[float] = []
    validations: list[float] = []
    divergences: list[float] = []
    # The untrained flow counts: on few samples any training may be too much.
    best, best_loss, stale = copy.deepcopy(flow.state_dict()), _validate(flow, validation)[0], 0
    for _ in range(epochs):
        total = 0.0
        for part in torch.randperm(len(train), generator=generator).split(BATCH):
            loss = negative_log_likelihood(flow, train[part])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), CLIP_NORM)
            optimizer.step()
            total += loss.item() * len(part)
        loss_now, divergence = _validate(flow, validation)
        losses.append(total / len(train))
        validations.append(loss_now)
        divergences.append(divergence)
        stale += 1
        if loss_now < best_loss:
            best, best_loss, stale = copy.deepcopy(flow.state_dict()), loss_now, 0
        if stale == PATIENCE:
            break
    flow.load_state_dict(best)
    return FlowHistory(tuple(losses), tuple(validations), tuple(divergences))


def _validate(flow: Flow, samples: Tensor) -> tuple[float, float]:
    with torch.no_grad():
        return negative_log_likelihood(flow, samples).item(), gaussian_kl(flow(samples)[0])
