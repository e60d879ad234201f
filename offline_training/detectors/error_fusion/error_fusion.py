"""Where not to trust the segmentation: observer, softmax and predicted class in one regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from offline_training.data.frames import Frames
from offline_training.detectors.combined import CombinedDetector
from offline_training.detectors.layer_density.held_out import thinned
from offline_training.detectors.logit_scores.logit_scores import error_odds
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.segmentation.augmentation import photometric
from offline_training.segmentation.config import AugmentationConfig
from offline_training.synthesis.pasting import paste_objects
from offline_training.watched.base import Seen, Watched

FRAMES = 48
"""The regression, of some twenty weights, is fitted on at most so many frames."""
PIXELS = 2000
"""Pixels drawn from each of them."""
LIGHT = AugmentationConfig(gamma=0.12, brightness=0.05, contrast=0.12, saturation=0.15, color=0.02)
"""Changes of light and colour, so that the weights hold on other days too."""


class ErrorFusion(CombinedDetector):
    """Log odds (B, H, W) that the segmentation is wrong or the thing unknown.

    A logistic regression of both logits of the light observer, of the log-odds of an error by the
    network's own softmax, and of a constant per predicted class: that a pole is mistaken more
    often than the sky is not to be seen in any of the others. Everything that it learns from is
    normal driving, every second frame with pasted objects, under changed light.

    Args:
        observer: settings of `LightObserver`.
        seed: of light, objects and pixels.
    """

    name = 'error_fusion'
    paper = (
        'this package, 2026: after Besnier et al., 2021 (observer) and Hendrycks and '
        'Gimpel, 2017 (softmax)'
    )
    inputs = 'logits, taps'

    def __init__(self, observer: dict[str, Any] | None = None, seed: int = 0):
        super().__init__(observer=dict(observer or {}), seed=seed)
        self.observer = LightObserver(**self.settings['observer'])
        self.weight: Tensor = nn.Buffer(torch.empty(0))  # (3,)
        self.bias: Tensor = nn.Buffer(torch.empty(0))  # (C,): one per output of the network

    def fit_weights(self, watched: Watched, frames: Frames) -> None:
        """Fit the regression.

        Raises:
            ValueError: the network makes no mistake, or nothing but mistakes.
        """
        rng = np.random.default_rng(self.settings['seed'])
        inputs, classes, wrong = [], [], []
        for count, index in enumerate(thinned(np.arange(len(frames.images)), FRAMES)):
            image, truth = frames.images[index], frames.labels[index].astype(np.int64)
            if count % 2:
                donor = frames.images[int(rng.integers(len(frames.images)))]
                image, mask = paste_objects(rng, image, donor)
                # No output of the network is the right answer on an unknown thing.
                truth[mask > 0] = -1
            image = photometric(image, LIGHT, rng)
            pixels = torch.from_numpy(np.ascontiguousarray(image))[None].to(watched.device)
            with torch.no_grad():
                values, predicted = self._inputs(
                    watched, watched.look(pixels, self.activations(watched, pixels))
                )
            drawn = rng.choice(truth.size, min(PIXELS, truth.size), replace=False)
            inputs.append(values[0].flatten(1).T[drawn].cpu().numpy())
            labels = predicted[0].flatten()[drawn].cpu().numpy()
            classes.append(labels)
            wrong.append(labels != truth.ravel()[drawn])
        x, y = np.concatenate(inputs).astype(np.float64), np.concatenate(wrong)
        if y.all() or not y.any():
            raise ValueError(
                f'{self.name} saw {"only" if y.all() else "no"} mistakes of the network on '
                f'{len(wrong)} frames; fit on more frames, or on a trained network'
            )
        outputs = watched(torch.from_numpy(frames.images[0])[None].to(watched.device)).shape[1]
        center, scale = x.mean(axis=0), x.std(axis=0).clip(1e-6)
        known = np.eye(outputs)[np.concatenate(classes)]
        model = LogisticRegression(max_iter=1000).fit(
            np.concatenate([(x - center) / scale, known], axis=1), y
        )
        weight = model.coef_[0, :3] / scale
        bias = model.coef_[0, 3:] + model.intercept_[0] - weight @ center
        self.weight = torch.from_numpy(weight).float().to(watched.device)
        self.bias = torch.from_numpy(bias).float().to(watched.device)

    @property
    def fitted(self) -> bool:
        return self.weight.numel() > 0

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        values, predicted = self._inputs(watched, seen)
        # Not by indexing, which engines do not all have in this form.
        bias = self.bias.index_select(0, predicted.flatten()).view(predicted.shape)
        return (values * self.weight.view(1, -1, 1, 1)).sum(dim=1) + bias

    def _inputs(self, watched: Watched, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return unknown, error and softmax log-odds (B, 3, H, W) and predictions (B, H, W)."""
        odds = error_odds(seen['logits'][:, : watched.num_classes])
        observed = self.observer.call(seen)
        observed = F.interpolate(observed, size=odds.shape[-2:], mode='bilinear')
        return torch.cat([observed, odds[:, None]], dim=1), seen['labels']
