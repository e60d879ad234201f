"""Predictions under Gaussian noise on the weights, ObsNet's baseline `gauss`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import functional_call

from offline_training.detectors.logit_scores.logit_scores import as_maps
from offline_training.detectors.monte_carlo.sampled_predictions import Measure, SampledDetector
from offline_training.watched.base import Watched


class WeightNoise(SampledDetector):
    """Disagreement of `passes` copies of the network with N(0, `sigma`) added to every weight.

    The noisy weights stand in for the network's own during a pass; those are never written.

    Raises:
        ValueError: `sigma` is negative, `measure` is unknown or `passes` below 1.
    """

    name = 'weight_noise'
    paper = (
        'Besnier et al., Triggering Failures: Out-Of-Distribution Detection by Learning '
        'from Local Adversarial Attacks in Semantic Segmentation, 2021 (baseline)'
    )
    inputs = 'image'

    def __init__(
        self,
        measure: Measure = 'predictive_entropy',
        passes: int = 16,
        sigma: float = 0.002,
        seed: int = 0,
    ):
        super().__init__(measure, passes, seed, sigma=sigma)
        if not 0 <= sigma < torch.inf:
            raise ValueError(f'sigma is {sigma} but must be 0 or more; correct the setting')
        self.sigma = sigma

    def samples(
        self, watched: Watched, images: Tensor, generator: torch.Generator
    ) -> Iterator[Tensor]:
        for _ in range(self.settings['passes']):
            noisy = {
                name: weight
                + self.sigma * torch.randn(weight.shape, generator=generator).to(weight)
                for name, weight in watched.network.named_parameters(prefix='network')
            }
            logits = functional_call(watched, noisy, (images,))
            yield as_maps(logits)[:, : watched.num_classes]
