"""Projected gradient descent: iterated FGSM from a random start."""

from __future__ import annotations

import torch
from torch import Tensor

from offline_training.attacks.gradient_sign import (
    Losses,
    Segment,
    cross_entropy,
    iterative_fgsm,
    project,
)


def pgd(
    segment: Segment,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    *,
    step_size: float | None = None,
    targeted: bool = False,
    mask: Tensor | None = None,
    losses: Losses = cross_entropy,
) -> Tensor:
    """Start at a random point within `epsilon` of the images, then take projected sign steps.

    Shapes, units, labels and errors as in `gradient_sign`. `step_size` is 2.5 epsilon / steps
    unless given, so that every point of the ball can be reached from every start. Madry et al.,
    "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, section 2.1.
    """
    # Drawn on the generator's device, so that a seed gives the same start on every device.
    noise = torch.rand(images.shape, generator=generator, device=generator.device)
    noise = (2 * noise.to(images) - 1) * epsilon
    start = project(images + (noise if mask is None else noise * mask), images, epsilon)
    return iterative_fgsm(
        segment,
        images,
        labels,
        epsilon,
        steps,
        step_size=2.5 * epsilon / max(1, steps) if step_size is None else step_size,
        targeted=targeted,
        mask=mask,
        start=start,
        losses=losses,
    )
