"""CosPGD (Agnihotri et al., ICML 2024): PGD for dense prediction, weighted per pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from offline_training.attacks.gradient_sign import Segment, cross_entropy
from offline_training.attacks.pgd import pgd


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
    pixels that have it already have no weight. Shapes, units, labels and errors as in
    `gradient_sign`. Agnihotri et al., "CosPGD: an efficient white-box adversarial attack for
    pixel-wise prediction tasks", 2024, algorithm 1.
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
