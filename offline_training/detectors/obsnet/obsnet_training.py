"""How ObsNet learns: failures of the target under local attacks, on varied normal images.

Besnier et al., ICCV 2021, sections 3.2 and 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from offline_training.attacks.gradient_sign import channels_first
from offline_training.attacks.local_adversarial import LOCAL_ATTACKS, named_local_attack
from offline_training.data.base import VOID
from offline_training.data.frames import Frames
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.schedule import WARM_COSINE
from offline_training.learning.session import Session
from offline_training.learning.settings import setting, settings
from offline_training.learning.task import Learned, Task
from offline_training.learning.training import learn
from offline_training.segmentation.augmentation import photometric, random_crop
from offline_training.segmentation.config import AugmentationConfig
from offline_training.synthesis.pasting import paste_objects
from offline_training.watched.base import Watched

Observe = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, H, W, 3) to the observer's logits and the target's, of one forward pass."""


@dataclass(frozen=True)
@settings()
class Training:
    """How an observer is trained."""

    attack: str | None = setting(
        'min_random_patch',
        'Local attack that makes the target fail.',
        choices=tuple(LOCAL_ATTACKS),
        null='only the failures that the target has anyway',
    )
    epsilon: float = setting(
        1.9,
        "Step of the attack in grey levels: 0.025 of CamVid's standard deviation, as in the "
        'paper.',
        low=0,
        high=255,
    )
    void: Literal['error', 'ignore'] = setting(
        'error', 'What pixels without a label count as. In the paper they are errors.'
    )
    paste: float = setting(
        0.5,
        'Share of images with pasted objects, which are errors whatever the target says; the '
        'paper has none.',
        low=0,
        high=1,
    )
    crop: float = setting(
        0.5, "Sides of the training crops as a share of the image's.", low=0.1, high=1
    )
    zoom: float = setting(
        1.5,
        'Most that a crop is enlarged; the whole image shrunk to the crop is the other end.',
        low=1,
        high=4,
    )
    jitter: float = setting(
        0.25, 'Strength of the changes of light and colour; 0 = none.', low=0, high=2
    )
    epochs: int = setting(8, 'Passes over the images.', low=1, high=10_000)
    batch_size: int = setting(4, 'Crops per step.', low=2, high=10_000)
    optimizer: Literal['adamw', 'sgd'] = setting('adamw', 'What steps the weights.')
    learning_rate: float = setting(1e-3, 'Highest step size.', low=1e-7, high=10)
    positive_weight: float = setting(2.0, 'Weight of errors in the loss.', low=0, high=1000)
    seed: int = setting(0, 'Seed of weights, crops and attacks.', low=0, high=2**31)


def variation(jitter: float) -> AugmentationConfig:
    """Return changes of light and colour; at 1 about those of ObsNet (contrast and so on 0.5)."""
    return AugmentationConfig(
        gamma=0.4 * jitter,
        brightness=0.15 * jitter,
        contrast=min(0.9, 0.4 * jitter),
        saturation=min(0.9, 0.5 * jitter),
        color=0.06 * jitter,
    )


def draw(
    frames: Frames, training: Training, index: int, rng: np.random.Generator, _: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw an image uint8 (h, w, 3), its labels uint8 and where objects are pasted, (h, w)."""
    image, truth = frames[index]
    rows, columns = truth.shape
    height, width = crop_side(rows, training.crop), crop_side(columns, training.crop)
    # Never smaller than the whole image, or a frame of padding would have to be explained.
    smallest = max(height / rows, width / columns)
    scale = (smallest, max(smallest, training.zoom))
    image, truth = random_crop(image, truth, width, height, scale, rng)
    if rng.random() < 0.5:
        image, truth = image[:, ::-1], truth[:, ::-1]
    mask = np.zeros(truth.shape, np.uint8)
    if rng.random() < training.paste:
        donor = frames[int(rng.integers(len(frames)))][0]
        image, mask = paste_objects(rng, np.ascontiguousarray(image), donor)
    if training.jitter:
        image = photometric(np.ascontiguousarray(image), variation(training.jitter), rng)
    return image, truth, mask > 0


def crop_side(side: int, share: float) -> int:
    """Return a share of a side, a multiple of 8 as the networks need."""
    return max(8, 8 * round(side * share / 8))


def attacked(
    watched: Watched,
    images: Tensor,
    labels: Tensor,
    training: Training,
    generator: torch.Generator,
) -> Tensor:
    """Return the images float32 (B, H, W, 3) with failures brought about by the attack."""
    pixels = images.float()
    if training.attack is None:
        return pixels
    # Void and unknown things are no output of the network: no gradient leads away from them.
    known = torch.where(labels < watched.num_classes, labels, VOID)
    moved, _ = named_local_attack(
        training.attack,
        channels_first(watched),
        pixels.permute(0, 3, 1, 2),
        known,
        training.epsilon,
        generator,
    )
    return moved.permute(0, 2, 3, 1)


def loss(
    observed: Tensor, predicted: Tensor, labels: Tensor, pasted: Tensor, training: Training
) -> Tensor:
    """Binary cross entropy of e = [predicted != label], or pasted; all arguments (B, H, W)."""
    wrong = (predicted != labels) | pasted
    counted = torch.ones_like(observed)
    if training.void == 'ignore':
        counted = ((labels != VOID) | pasted).float()
    weight = torch.tensor(training.positive_weight, device=observed.device)
    each = F.binary_cross_entropy_with_logits(
        observed, wrong.float(), reduction='none', pos_weight=weight
    )
    return (each * counted).sum() / counted.sum().clamp_min(1)


def train(
    observer: nn.Module,
    observe: Observe,
    watched: Watched,
    frames: Frames,
    training: Training,
    session: Session,
) -> Learned:
    """Train `observer`, which `observe` calls, in place; the watched network is only asked.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """

    def step(images: Tensor, truth: Tensor, pasted: Tensor) -> Tensor:
        labels = truth.long()
        with torch.autocast(watched.device.type, enabled=False):
            pixels = attacked(watched, images, labels, training, torch.default_generator)
        observed, logits = observe(pixels)
        return loss(observed, logits.argmax(dim=1), labels, pasted, training)

    kind = {
        'adamw': lambda p: torch.optim.AdamW(p, training.learning_rate, weight_decay=1e-3),
        'sgd': lambda p: torch.optim.SGD(p, training.learning_rate),
    }[training.optimizer]
    return learn(
        Task(
            'obsnet',
            observer,
            step,
            DrawnBatches(
                len(frames),
                partial(draw, frames, training),
                training.batch_size,
                training.seed,
                watched.device,
                session,
            ),
            kind(observer.parameters()),
            training.epochs,
            'lower learning_rate of obsnet',
            training.seed,
            # The paper's steps down at epoch/2 and the end, as one smooth curve.
            WARM_COSINE,
            mixed=True,
        ),
        session,
    )
