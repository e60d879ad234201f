"""Local adversarial attacks (ObsNet, Besnier et al. 2021, section 3.2): one masked FGSM step.

They perturb a part of an image so that the segmentation network errs there: an observer is trained
on these errors without any anomalous data. Images are float32 (B, 3, H, W) in pixel units [0,
255], before normalisation, so that `epsilon` means the same for every network.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from offline_training.attacks.gradient_sign import Segment, input_gradient
from offline_training.data.base import VOID
from offline_training.synthesis.fractals import fractal_silhouette
from offline_training.synthesis.silhouettes import silhouette

Region = Literal['all_image', 'pixels_sparse', 'class', 'square_patch', 'random_patch', 'fractal']
REGIONS: tuple[Region, ...] = get_args(Region)[:-1]
"""Those that an observer is trained on."""
Mode = Literal['min', 'max']
SPARSE_SHARE = 0.05
NOISE = 2.0
"""Standard deviation in grey levels of the noise that precedes the step inside the mask."""

LOCAL_ATTACKS: dict[str, tuple[Mode, Region]] = {
    'min_all_image': ('min', 'all_image'),
    'max_all_image': ('max', 'all_image'),
    'min_pixels_sparse': ('min', 'pixels_sparse'),
    'max_pixels_sparse': ('max', 'pixels_sparse'),
    'min_class': ('min', 'class'),
    'max_class': ('max', 'class'),
    'min_square_patch': ('min', 'square_patch'),
    'max_square_patch': ('max', 'square_patch'),
    'min_random_patch': ('min', 'random_patch'),
    'max_random_patch': ('max', 'random_patch'),
    'fractal': ('max', 'fractal'),
}
"""ObsNet's eleven attacks by name: which way to push, and where."""


def region_mask(
    rng: np.random.Generator, region: Region, labels: NDArray[Any], ignore: int = VOID
) -> NDArray[np.float32]:
    """Draw the attacked area: float32 (H, W) of 0 and 1 for integer labels (H, W).

    A `square_patch` is a rectangle; its sides are drawn independently. A `fractal` is turned.
    """
    height, width = labels.shape
    if region == 'all_image':
        return np.ones((height, width), np.float32)
    if region == 'pixels_sparse':
        return (rng.random((height, width)) < SPARSE_SHARE).astype(np.float32)
    if region == 'class':
        present = np.unique(labels[labels != ignore])
        chosen = rng.choice(present) if present.size else ignore
        return (labels == chosen).astype(np.float32)
    mask, box = _empty_mask_and_box(rng, height, width)
    if region == 'square_patch':
        box[:] = 1
        return mask
    if region == 'fractal':
        box[fractal_silhouette(rng, *box.shape) > 0] = 1
        return mask
    for _ in range(int(rng.integers(6, 11))):  # union of 6..10 shapes
        size = int(min(box.shape) * rng.uniform(0.3, 0.7))
        y = int(rng.integers(0, box.shape[0] - size + 1))
        x = int(rng.integers(0, box.shape[1] - size + 1))
        box[y : y + size, x : x + size][silhouette(rng, size, size) > 0] = 1
    return mask


def _empty_mask_and_box(
    rng: np.random.Generator, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return zeros (height, width) and a view of a random box in them, 8 pixels or more a side."""
    if min(height, width) < 8:
        raise ValueError(
            f'the image is {height} x {width} but patches need 8 x 8 pixels; enlarge it'
        )
    box_height = max(8, int(height * rng.uniform(0.2, 0.45)))
    box_width = max(8, int(width * rng.uniform(0.2, 0.45)))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    mask = np.zeros((height, width), np.float32)
    return mask, mask[top : top + box_height, left : left + box_width]


def local_attack(
    segment: Segment,
    images: Tensor,
    labels: Tensor,
    mask: Tensor,
    epsilon: float,
    mode: Mode,
    generator: torch.Generator,
    ignore: int = VOID,
) -> Tensor:
    """Take one masked step against the network and return the attacked images.

    `min` lowers the true class (x + eps sign grad CE(true)); `max` raises one random wrong class
    per image (x - eps sign grad CE(wrong)). Outside `mask` (B, 1, H, W) nothing changes; inside, a
    pixel changes by at most `epsilon` plus the clipped noise of `NOISE` grey levels.

    `segment` maps images to logits (B, C, H, W), in evaluation mode; `labels` are int64 (B, H, W),
    those that are not an output as `ignore`.

    Raises:
        ValueError: epsilon is negative or the mode unknown.
    """
    if not epsilon >= 0:
        raise ValueError(f'epsilon is {epsilon}; a local attack needs epsilon >= 0 grey levels')
    if mode not in get_args(Mode):
        raise ValueError(f'there is no mode {mode!r}; take one of {list(get_args(Mode))}')
    # Drawn on the generator's device, so that a seed gives the same attack on every device.
    place = generator.device
    noise = torch.randn(images.shape, generator=generator, device=place).to(images.device)
    start = (images + noise.clamp(-2, 2) * NOISE * mask).clamp(0, 255).detach()

    def loss(logits: Tensor) -> Tensor:
        known = (labels >= 0) & (labels < logits.shape[1])
        target = torch.where(known, labels, ignore)
        if mode == 'max':
            shape = (len(images), 1, 1)
            classes = torch.randint(logits.shape[1], shape, generator=generator, device=place)
            target = classes.to(labels.device).expand(labels.shape)
            # A pixel that already has this class is not an error there; leave it out.
            target = torch.where(labels == target, ignore, target)
        return F.cross_entropy(logits, target, ignore_index=ignore, reduction='sum')

    gradient = input_gradient(segment, start, loss)
    sign = 1.0 if mode == 'min' else -1.0
    return (start + sign * epsilon * gradient.sign() * mask).clamp(0, 255)


def named_local_attack(
    name: str,
    segment: Segment,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    generator: torch.Generator,
    ignore: int = VOID,
) -> tuple[Tensor, Tensor]:
    """Run one of `LOCAL_ATTACKS`; return the attacked images and the mask float32 (B, 1, H, W).

    Each image gets its own region, class and wrong class. `min_class` leaves out pixels that are
    wrong already, and changes nothing where the whole class is wrong.

    Raises:
        ValueError: there is no attack of this name, or epsilon is negative.
    """
    if name not in LOCAL_ATTACKS:
        raise ValueError(f'there is no local attack {name!r}; take one of {list(LOCAL_ATTACKS)}')
    mode, region = LOCAL_ATTACKS[name]
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    rng = np.random.default_rng(int(seed))
    masks = [region_mask(rng, region, truth, ignore) for truth in labels.cpu().numpy()]
    mask = torch.from_numpy(np.stack(masks))[:, None].to(images.device)
    if mode == 'min' and region == 'class':
        with torch.no_grad():
            right = segment(images).argmax(dim=1) == labels
        mask = mask * right[:, None]
    return local_attack(segment, images, labels, mask, epsilon, mode, generator, ignore), mask
