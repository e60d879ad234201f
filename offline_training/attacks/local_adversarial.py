"""Local adversarial attacks (ObsNet, Besnier et al. 2021, section 3.2): one masked FGSM step.

They perturb a part of an image so that the segmentation network errs there, which gives an
observer failures to learn from without any anomalous data. Images are float32 (B, 3, H, W) in
pixel units [0, 255], before normalisation, so that `epsilon` means the same for every network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from offline_training.attacks.silhouettes import silhouette

Region = Literal['all_image', 'pixels_sparse', 'class', 'square_patch', 'random_patch']
REGIONS: tuple[Region, ...] = get_args(Region)
SPARSE_SHARE = 0.05
NOISE = 2.0
"""Standard deviation in grey levels of the noise that precedes the step inside the mask."""


def region_mask(
    rng: np.random.Generator, region: Region, labels: NDArray[np.uint8], ignore: int = 255
) -> NDArray[np.float32]:
    """Draw where to attack: float32 (H, W) of 0 and 1 for labels uint8 (H, W)."""
    height, width = labels.shape
    if region == 'all_image':
        return np.ones((height, width), np.float32)
    if region == 'pixels_sparse':
        return (rng.random((height, width)) < SPARSE_SHARE).astype(np.float32)
    if region == 'class':
        present = np.unique(labels[labels != ignore])
        chosen = rng.choice(present) if present.size else ignore
        return (labels == chosen).astype(np.float32)
    box_height = max(8, int(height * rng.uniform(0.2, 0.45)))
    box_width = max(8, int(width * rng.uniform(0.2, 0.45)))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    mask = np.zeros((height, width), np.float32)
    box = mask[top : top + box_height, left : left + box_width]
    if region == 'square_patch':
        box[:] = 1
        return mask
    for _ in range(int(rng.integers(6, 11))):  # union of 6..10 shapes
        size = int(min(box_height, box_width) * rng.uniform(0.3, 0.7))
        y = int(rng.integers(0, box_height - size + 1))
        x = int(rng.integers(0, box_width - size + 1))
        box[y : y + size, x : x + size][silhouette(rng, size, size) > 0] = 1
    return mask


def local_attack(
    segment: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    mask: Tensor,
    epsilon: float,
    mode: Literal['min', 'max'],
    generator: torch.Generator,
    ignore: int = 255,
) -> Tensor:
    """Take one masked step against the network and return the attacked images.

    `min` lowers the true class (x + eps sign grad CE(true)); `max` raises one random wrong class
    per image (x - eps sign grad CE(wrong)). Outside `mask` (B, 1, H, W) nothing changes; inside, a
    pixel changes by at most `epsilon` plus the clipped noise of `NOISE` grey levels.

    `segment` maps images to logits (B, C, H, W). Its parameters must not require gradients: they
    then stay without any, and networks in evaluation mode keep their statistics.
    """
    noise = torch.randn(images.shape, generator=generator).clamp(-2, 2) * NOISE
    start = (images + noise * mask).clamp(0, 255).detach().requires_grad_(True)
    logits = segment(start)
    if mode == 'max':
        classes = torch.randint(logits.shape[1], (len(images), 1, 1), generator=generator)
        target = classes.expand(labels.shape)
        # A pixel that already has this class is not an error there; leave it out.
        target = torch.where(labels == target, ignore, target)
    else:
        target = labels
    loss = F.cross_entropy(logits, target, ignore_index=ignore, reduction='sum')
    (gradient,) = torch.autograd.grad(loss, start)
    sign = 1.0 if mode == 'min' else -1.0
    return (start + sign * epsilon * gradient.sign() * mask).clamp(0, 255).detach()
