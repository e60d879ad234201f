"""From the sampled activations to one score: standardise, flow, classify."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from offline_training.detectors.daain.classifiers import Classifier
from offline_training.detectors.daain.flows import Flow
from offline_training.detectors.daain.training import FlowHistory, fit_flow
from offline_training.learning.session import QUIET, Session

LEAST_SPREAD = 0.1
"""Least standard deviation of an activation, relative to its layer's."""
EVALUATED = 256
"""Samples that go through the flow at once after training."""


class SampleScorer(nn.Module):
    """Samples (B, N) to scores (B,), higher = more anomalous.

    `arrangement` (K, rows, columns) indexes the N activations; without a grid it is (N, 1, 1).
    """

    arrangement: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, points: int, arrangement: Tensor, flow: Flow, classifier: Classifier):
        super().__init__()
        self.flow = flow
        self.classifier = classifier
        self.register_buffer('arrangement', arrangement.flatten(), persistent=False)
        self.register_buffer('mean', torch.zeros(points))
        self.register_buffer('scale', torch.ones(points))

    def standardise(self, sample: Tensor) -> Tensor:
        """Return the sample (B, N) with zero mean and unit variance as a grid (B, K, h, w)."""
        standard = (sample - self.mean) / self.scale
        return standard.index_select(1, self.arrangement).reshape(-1, *self.flow.shape)

    def latent(self, sample: Tensor) -> Tensor:
        """Return z (B, D) of samples (B, N)."""
        z: Tensor = self.flow(self.standardise(sample))[0]
        return z

    def forward(self, sample: Tensor) -> Tensor:
        score: Tensor = self.classifier(self.latent(sample))
        return score

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
