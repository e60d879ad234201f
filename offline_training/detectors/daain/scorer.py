"""From the sampled activations to one score: standardise, flow, classify; and how it is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offline_training.detectors.daain.classifiers import Classifier
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


LEAST_SPREAD = 0.1
"""Least standard deviation of an activation, relative to its layer's."""
EVALUATED = 256
"""Samples that go through the flow at once after training."""


class SampleScorer(nn.Module):
    """Samples (B, N) to scores (B,), higher = more anomalous.

    `arrangement` (K, rows, columns) indexes the N activations; without a grid it is (N, 1, 1).
    """

    def __init__(self, points: int, arrangement: Tensor, flow: Flow, classifier: Classifier):
        super().__init__()
        self.flow = flow
        self.classifier = classifier
        self.arrangement: Tensor = nn.Buffer(arrangement.flatten(), persistent=False)
        self.mean: Tensor = nn.Buffer(torch.zeros(points))
        self.scale: Tensor = nn.Buffer(torch.ones(points))

    def standardise(self, sample: Tensor) -> Tensor:
        """Return the sample (B, N) with zero mean and unit variance as a grid (B, K, h, w)."""
        standard = (sample - self.mean) / self.scale
        return standard.index_select(1, self.arrangement).reshape(-1, *self.flow.shape)

    def latent(self, sample: Tensor) -> Tensor:
        """Return z (B, D) of samples (B, N)."""
        return self.flow(self.standardise(sample))[0]

    def forward(self, sample: Tensor) -> Tensor:
        return self.classifier(self.latent(sample))

    def fit(
        self,
        samples: Tensor,
        parts: Sequence[slice],
        epochs: int,
        seed: int,
        session: Session = QUIET,
    ) -> FlowHistory:
        """Learn from samples (N, points) of normal frames; `parts` are the points of each layer.

        Afterwards no parameter requires gradients.
        """
        self.mean.copy_(samples.mean(dim=0))
        self.scale.copy_(_scales(samples, parts))
        self.flow.requires_grad_(True)
        history = fit_flow(self.flow, self.standardise(samples), epochs, seed, session)
        self.requires_grad_(False)
        self.classifier.fit(torch.cat([self.latent(s) for s in samples.split(EVALUATED)]))
        return history


def _scales(samples: Tensor, parts: Sequence[slice]) -> Tensor:
    """Return the standard deviation of each activation, with a floor per layer.

    A unit that was silent on all frames must not become the loudest voice when it speaks once; a
    layer's usual spread says what much is.
    """
    variance = samples.var(dim=0, unbiased=False)
    everywhere = variance.mean()
    floor = torch.empty_like(variance)
    for part in parts:
        layer = variance[part].mean()
        floor[part] = layer if layer > 0 else everywhere
    return torch.maximum(variance, LEAST_SPREAD**2 * floor).sqrt().clamp_min(1e-6)
