"""Scores of the logits alone, from the same forward pass as the segmentation.

Only classes with labels count: a network that is sure of void is not sure of any known class.
Every formula spells its shift out, because engines have no fused softmax that stays finite in half
precision.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.watched.base import Seen, Watched


def as_maps(logits: Tensor) -> Tensor:
    """Return logits (B, C, H, W); those of a classifier (B, C) become maps of one pixel."""
    return logits[..., None, None] if logits.ndim == 2 else logits


def known_logits(watched: Watched, images: Tensor) -> Tensor:
    """Return the logits (B, num_classes, H, W) without those of void."""
    return as_maps(watched(images))[:, : watched.num_classes]


def uncertainty(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """One minus the largest softmax probability: (B, C, H, W) -> (B, H, W) in [0, 1 - 1/C]."""
    shifted = (logits - logits.amax(dim=1, keepdim=True)) / temperature
    # The largest term is exactly 1; a reciprocal would be one more operator for the engines.
    total = shifted.exp().sum(dim=1)
    return (total - 1) / total


def error_odds(logits: Tensor) -> Tensor:
    """Log-odds that the likeliest class is wrong: (B, C, H, W) -> (B, H, W), at least ln(1e-5).

    The logarithm of u / (1 - u) with u of `uncertainty`; the floor is about float32's resolution.
    """
    shifted = logits - logits.amax(dim=1, keepdim=True)
    return (shifted.exp().sum(dim=1) - 1).clamp_min(1e-5).log()


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats: (B, C, H, W) -> (B, H, W) in [0, ln C]."""
    shifted = logits - logits.amax(dim=1, keepdim=True)
    weights = shifted.exp()
    total = weights.sum(dim=1)
    return (total.log() - (weights * shifted).sum(dim=1) / total).clamp_min(0)


def free_energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Free energy -T logsumexp(logits / T): (B, C, H, W) -> (B, H, W), unbounded."""
    scaled = logits / temperature
    peak = scaled.amax(dim=1)
    return -temperature * (peak + (scaled - peak[:, None]).exp().sum(dim=1).log())


class LogitScore(OnePassDetector):
    """Base of the scores that read nothing but the logits of the known classes."""

    @abstractmethod
    def score(self, logits: Tensor) -> Tensor:
        """Map logits (B, C, H, W) of the known classes to scores (B, H, W)."""

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        return self.score(as_maps(seen['logits'])[:, : watched.num_classes])


class MaxSoftmax(LogitScore):
    """One minus the maximum softmax probability; `temperature` above 1 softens it (ObsNet: 1.2).

    Raises:
        ValueError: `temperature` is not above 0.
    """

    name = 'msp'
    paper = (
        'Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution '
        'Examples in Neural Networks, 2017'
    )
    inputs = 'logits'

    def __init__(self, temperature: float = 1.0):
        super().__init__(temperature=temperature)
        self.temperature = positive(temperature)

    def score(self, logits: Tensor) -> Tensor:
        return uncertainty(logits, self.temperature)


class MaxLogit(LogitScore):
    """The negated largest logit."""

    name = 'max_logit'
    paper = 'Hendrycks et al., Scaling Out-of-Distribution Detection for Real-World Settings, 2022'
    inputs = 'logits'

    def score(self, logits: Tensor) -> Tensor:
        return -logits.amax(dim=1)


class PredictiveEntropy(LogitScore):
    """Entropy of the softmax, in nats."""

    name = 'entropy'
    paper = 'Shannon, A Mathematical Theory of Communication, 1948'
    inputs = 'logits'

    def score(self, logits: Tensor) -> Tensor:
        return entropy(logits)


class Energy(LogitScore):
    """Free energy of the logits (equation 4).

    Raises:
        ValueError: `temperature` is not above 0.
    """

    name = 'energy'
    paper = 'Liu et al., Energy-based Out-of-distribution Detection, 2020'
    inputs = 'logits'

    def __init__(self, temperature: float = 1.0):
        super().__init__(temperature=temperature)
        self.temperature = positive(temperature)

    def score(self, logits: Tensor) -> Tensor:
        return free_energy(logits, self.temperature)


class VoidProbability(OnePassDetector):
    """Softmax probability of the void channels, for networks that were trained to say void."""

    name = 'void'
    paper = (
        'Blum et al., The Fishyscapes Benchmark: Measuring Blind Spots in Semantic '
        'Segmentation, 2021'
    )
    inputs = 'logits'

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        logits = as_maps(seen['logits'])
        if logits.shape[1] == watched.num_classes:
            raise NotApplicableError(
                f'void needs a network with a void channel but this one has {logits.shape[1]} '
                'channels for as many classes; train it with backbone.train_void'
            )
        weights = (logits - logits.amax(dim=1, keepdim=True)).exp()
        return weights[:, watched.num_classes :].sum(dim=1) / weights.sum(dim=1)


def positive(temperature: float) -> float:
    """Return the temperature; raises ValueError unless it is above 0."""
    if not (0 < temperature < torch.inf):
        raise ValueError(f'temperature is {temperature} but must be above 0; correct the setting')
    return temperature
