"""Attacks that follow the sign of the gradient: FGSM, I-FGSM (BIM), PGD and CosPGD.

One convention for all gradient attacks of this folder: `segment` maps images float32
(B, 3, H, W) in 0..255, before normalisation, to logits (B, C, H, W), or (B, C) of a classifier,
and lengths such as `epsilon` are grey levels, so that they mean the same for every network. A
`Watched` network, which reads (B, H, W, 3), is attacked as `channels_first(watched)`.

`labels` are int64 (B, H, W), or (B,) for a classifier: the truth for an untargeted attack, or with
`targeted` the wanted labels. Labels that are not an output (void, 255) do not count. All pixels to
one class, say `person`:

    wanted = torch.full((len(images), height, width), person)
    fgsm(segment, images, wanted, epsilon=8, targeted=True)

The network does not change: gradients are taken with respect to the images only. It must be in
evaluation mode, otherwise each forward pass would update its batch statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

Segment = Callable[[Tensor], Tensor]
Losses = Callable[[Tensor, Tensor], Tensor]
"""Logits and labels to one loss per pixel (B, H, W), or per image (B,) of a classifier."""
Answer = TypeVar('Answer')


def channels_first(network: Callable[[Tensor], Answer]) -> Callable[[Tensor], Answer]:
    """Give images (B, 3, H, W) to a network that reads (B, H, W, 3), such as `Watched`."""
    return lambda images: network(images.permute(0, 2, 3, 1))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy per pixel or image, 0 where the label is not an output.

    Raises:
        ValueError: the shapes do not belong together, or no label at all is an output.
    """
    classes = logits.shape[1]
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f'labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}; give one '
            'label per pixel of the logits, or one per image for a classifier'
        )
    known = (labels >= 0) & (labels < classes)
    if not known.any():
        raise ValueError(
            f'none of the labels is an output of the network (0..{classes - 1}), so there is '
            'nothing to attack; leave this image out or give other labels'
        )
    counted = torch.where(known, labels.long(), -1)
    return F.cross_entropy(logits, counted, ignore_index=-1, reduction='none')


def input_gradient(segment: Segment, images: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the gradient of `loss(logits)`, a scalar, with respect to the images (B, 3, H, W).

    Works under `no_grad` too, and leaves no gradients in the network's parameters.
    """
    with torch.enable_grad():
        asked = images.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(segment(asked)), asked)
    return gradient


def project(attacked: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """Return the nearest images within `epsilon` of `images` (L-infinity) and within 0..255."""
    return torch.clamp(attacked, images - epsilon, images + epsilon).clamp(0, 255)


def fgsm(
    segment: Segment,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    targeted: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Take one step of `epsilon` along the sign of the gradient; return the attacked images.

    x + eps sign grad CE(x, truth), or x - eps sign grad CE(x, wanted) if targeted, clipped to
    0..255; only where `mask` (B, 1, H, W) of 0 and 1 is 1. Goodfellow et al., "Explaining and
    Harnessing Adversarial Examples", 2015, section 4.
    """
    return iterative_fgsm(segment, images, labels, epsilon, 1, targeted=targeted, mask=mask)


def iterative_fgsm(
    segment: Segment,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int,
    *,
    step_size: float | None = None,
    targeted: bool = False,
    mask: Tensor | None = None,
    start: Tensor | None = None,
    losses: Losses = cross_entropy,
) -> Tensor:
    """Take `steps` FGSM steps, each projected to `epsilon` around the images and to 0..255.

    `step_size` is in grey levels, epsilon / steps unless given; the paper takes 1. `start` are the
    images to begin from, `losses` what the steps raise (or lower, if targeted), both for attacks
    built on this one. Kurakin et al., "Adversarial Examples in the Physical World", 2017, section
    2.2 (basic iterative method).

    Raises:
        ValueError: epsilon is negative or there is no step to take; see also `cross_entropy`.
    """
    if epsilon < 0 or steps < 1:
        raise ValueError(
            f'epsilon is {epsilon} and steps is {steps}; an attack needs epsilon >= 0 grey levels '
            'and at least one step'
        )
    length = epsilon / steps if step_size is None else step_size
    if targeted:
        length = -length
    images = images.detach()
    attacked = images if start is None else start.detach()
    for _ in range(steps):
        gradient = input_gradient(segment, attacked, lambda logits: losses(logits, labels).sum())
        step = length * gradient.sign()
        attacked = project(attacked + (step if mask is None else step * mask), images, epsilon)
    return attacked


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

    Shapes, units, labels: see the top of this file; errors: `iterative_fgsm`. `step_size` is 2.5
    epsilon / steps unless given, so that every point of the ball can be reached from every start.
    Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, section
    2.1.
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


def cosine_similarity(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cosine in 0..1 of softmax(logits) and the one-hot label, one per pixel.

    It is p_label / |p|, without gradient: it only weights the loss. It is undefined
    for labels that are not an output.
    """
    probabilities = logits.detach().softmax(dim=1)
    index = labels.long().clamp(0, logits.shape[1] - 1)[:, None]
    return (probabilities.gather(1, index) / probabilities.norm(dim=1, keepdim=True))[:, 0]


def cospgd(
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
) -> Tensor:
    """Run PGD with each pixel's cross entropy weighted by how well it is still classified.

    Untargeted, the weight is the cosine similarity of prediction and truth, so that pixels that
    are wrong already have no weight; targeted, it is 1 minus that to the wanted label, so that
    pixels that have it already have no weight. Shapes, units, labels: see the top of this file;
    errors: `iterative_fgsm`. Agnihotri et al., "CosPGD: an efficient white-box adversarial attack
    for pixel-wise prediction tasks", 2024, algorithm 1.
    """

    def losses(logits: Tensor, wanted: Tensor) -> Tensor:
        cosine = cosine_similarity(logits, wanted)
        return cross_entropy(logits, wanted) * (1 - cosine if targeted else cosine)

    return pgd(
        segment,
        images,
        labels,
        epsilon,
        steps,
        generator,
        step_size=step_size,
        targeted=targeted,
        mask=mask,
        losses=losses,
    )
