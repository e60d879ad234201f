"""ODIN: a small step of the image towards its predicted classes, then a soft softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from offline_training.detectors.base import Detector
from offline_training.detectors.logit_scores.logit_scores import (
    known_logits,
    positive,
    uncertainty,
)
from offline_training.watched.base import Watched


class Odin(Detector):
    """One minus the maximum softmax probability at a high temperature, after a small step.

    The step makes the image more like its predicted classes, x - epsilon sign(d/dx -log S(x; T))
    (equation 2); known things gain more certainty from it than unknown ones. The dense form sums
    the logarithms over the pixels of an image, so that one step serves all of them. `epsilon` is
    in 0..1 of the pixel range; the paper searches `temperature` 1..1000 and `epsilon` 0..0.004.

    Raises:
        ValueError: `temperature` is not above 0 or `epsilon` negative.
    """

    name = 'odin'
    paper = (
        'Liang et al., Enhancing The Reliability of Out-of-distribution Image Detection in '
        'Neural Networks, 2018'
    )
    inputs = 'image'
    passes = 2
    gradients = True

    def __init__(self, temperature: float = 1000.0, epsilon: float = 0.0014):
        super().__init__(temperature=temperature, epsilon=epsilon)
        if not 0 <= epsilon < torch.inf:
            raise ValueError(f'epsilon is {epsilon} but must be 0 or more; correct the setting')
        self.temperature = positive(temperature)
        self.epsilon = epsilon

    def perturbed(self, watched: Watched, images: Tensor) -> Tensor:
        """Return the images after the step, float32 (B, H, W, 3), not clipped."""
        # Callers may have switched gradients off, in either of torch's two ways.
        with torch.inference_mode(False), torch.enable_grad():
            start = images.detach().float().clone().requires_grad_(True)
            scaled = known_logits(watched, start) / self.temperature
            loss = (scaled.logsumexp(dim=1) - scaled.amax(dim=1)).sum()
            (gradient,) = torch.autograd.grad(loss, start)
        return (start - 255 * self.epsilon * gradient.sign()).detach()

    def score_map(self, watched: Watched, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits = known_logits(watched, self.perturbed(watched, images))
            return uncertainty(logits, self.temperature)
