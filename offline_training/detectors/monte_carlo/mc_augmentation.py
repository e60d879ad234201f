"""Monte-Carlo data augmentation (Ayhan and Berens 2018), a baseline of ObsNet."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from offline_training.detectors.logit_scores.logit_scores import known_logits
from offline_training.detectors.monte_carlo.sampled_predictions import Measure, SampledDetector
from offline_training.watched.base import Watched


def change_light(images: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Scale the light of images (B, H, W, 3) in 0..255, each by its factor; 1 changes nothing.

    Grey is the plain mean of the channels, the same in RGB and BGR.
    """
    x = images.float() * brightness
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = middle + contrast * (x - middle)
    grey = x.mean(dim=3, keepdim=True)
    return (grey + saturation * (x - grey)).clamp(0, 255)


class McAugmentation(SampledDetector):
    """Disagreement of predictions under changes of light, every second one mirrored.

    Brightness, contrast and saturation are drawn from 1 - `strength` to 1 + `strength` (ObsNet:
    0.5). Maps of mirrored images are mirrored back.

    Raises:
        ValueError: `strength` is not in [0, 1], `measure` is unknown or `passes` below 1.
    """

    name = 'mc_augmentation'
    paper = (
        'Ayhan and Berens, Test-time Data Augmentation for Estimation of Heteroscedastic '
        'Aleatoric Uncertainty in Deep Neural Networks, 2018'
    )
    inputs = 'image'

    def __init__(
        self,
        measure: Measure = 'predictive_entropy',
        passes: int = 16,
        strength: float = 0.5,
        seed: int = 0,
    ):
        super().__init__(measure, passes, seed, strength=strength)
        if not 0 <= strength <= 1:
            raise ValueError(f'strength is {strength} but must be in 0..1; correct the setting')
        self.strength = strength

    def samples(
        self, watched: Watched, images: Tensor, generator: torch.Generator
    ) -> Iterator[Tensor]:
        for index in range(self.settings['passes']):
            draws = 2 * torch.rand(3, generator=generator) - 1
            changed = change_light(images, *(1 + self.strength * draws).tolist())
            if index % 2 == 0:
                yield known_logits(watched, changed)
            else:
                yield known_logits(watched, changed.flip(2)).flip(3)
