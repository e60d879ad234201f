"""How ObsNet learns: failures of the target under local attacks, on varied normal images.

Besnier et al., ICCV 2021, sections 3.2 and 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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
from offline_training.segmentation.augmentation import photometric, random_crop
from offline_training.segmentation.config import AugmentationConfig
from offline_training.synthesis.pasting import paste_objects
from offline_training.watched.base import Watched

Observe = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, H, W, 3) to the observer's logits and the target's, of one forward pass."""


@dataclass(frozen=True)
class Training:
    """How an observer is trained.

    Raises:
        ValueError: a value is out of its range; the sentence names it.
    """

    attack: str | None = 'min_random_patch'
    """One of `LOCAL_ATTACKS`; None = only the failures that the target has anyway."""
    epsilon: float = 1.9
    """Step of the attack in grey levels: 0.025 of CamVid's standard deviation, as in the paper."""
    void: Literal['error', 'ignore'] = 'error'
    """What pixels without a label count as. In the paper they are errors."""
    paste: float = 0.5
    """Share of images with pasted objects, which are errors whatever the target says; the paper
    has none."""
    crop: float = 0.5
    """Sides of the training crops as a share of the image's."""
    zoom: float = 1.5
    """Most that a crop is enlarged; the whole image shrunk to the crop is the other end."""
    jitter: float = 0.25
    """Strength of the changes of light and colour; 0 = none."""
    epochs: int = 8
    batch_size: int = 4
    optimizer: Literal['adamw', 'sgd'] = 'adamw'
    learning_rate: float = 1e-3
    positive_weight: float = 2.0
    """Weight of errors in the loss."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.attack is not None and self.attack not in LOCAL_ATTACKS:
            raise ValueError(
                f'attack is {self.attack!r} but must be None or one of {list(LOCAL_ATTACKS)}'
            )
        for name, known in (('void', ('error', 'ignore')), ('optimizer', ('adamw', 'sgd'))):
            if getattr(self, name) not in known:
                raise ValueError(f'{name} is {getattr(self, name)!r} but must be one of {known}')
        for name, low, high in (
            ('epsilon', 0, 255),
            ('paste', 0, 1),
            ('crop', 0.1, 1),
            ('zoom', 1, 4),
            ('jitter', 0, 2),
            ('epochs', 1, 10_000),
            ('batch_size', 2, 10_000),
            ('learning_rate', 1e-7, 10),
            ('positive_weight', 0, 1000),
            ('seed', 0, 2**31),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f'{name} is {getattr(self, name)} but must be between {low} and {high}'
                )


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
    frames: Frames, chosen: NDArray[np.integer], training: Training, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a batch: images uint8 (B, h, w, 3), labels int64 and pasted masks bool (B, h, w)."""
    height, width = (crop_side(side, training.crop) for side in frames.labels[0].shape)
    changed, truths, masks = [], [], []
    # Never smaller than the whole image, or a frame of padding would have to be explained.
    smallest = max(height / frames.labels[0].shape[0], width / frames.labels[0].shape[1])
    for index in chosen:
        image, truth = random_crop(
            frames.images[index],
            frames.labels[index],
            width,
            height,
            (smallest, max(smallest, training.zoom)),
            rng,
        )
        if rng.random() < 0.5:
            image, truth = image[:, ::-1], truth[:, ::-1]
        mask = np.zeros(truth.shape, np.uint8)
        if rng.random() < training.paste:
            donor = frames.images[int(rng.integers(len(frames.images)))]
            image, mask = paste_objects(rng, np.ascontiguousarray(image), donor)
        if training.jitter:
            image = photometric(np.ascontiguousarray(image), variation(training.jitter), rng)
        changed.append(np.ascontiguousarray(image))
        truths.append(np.ascontiguousarray(truth))
        masks.append(mask > 0)
    return (
        torch.from_numpy(np.stack(changed)),
        torch.from_numpy(np.stack(truths)).long(),
        torch.from_numpy(np.stack(masks)),
    )


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


def steps(frames: Frames, training: Training) -> int:
    """Return how many steps `train` takes."""
    return max(1, len(frames.images) // training.batch_size) * training.epochs


def train(
    observer: nn.Module,
    observe: Observe,
    watched: Watched,
    frames: Frames,
    training: Training,
    advance: Callable[[], object],
) -> None:
    """Train `observer`, which `observe` calls, in place; the watched network is only asked.

    `advance` is called after each step.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    rng = np.random.default_rng(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    kind = {
        'adamw': lambda p: torch.optim.AdamW(p, training.learning_rate, weight_decay=1e-3),
        'sgd': lambda p: torch.optim.SGD(p, training.learning_rate),
    }[training.optimizer]
    optimizer = kind(observer.parameters())
    size = min(training.batch_size, len(frames.images))
    total = steps(frames, training)
    # The paper's steps down at epoch/2 and the end, as one smooth curve after a short warm-up.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1, (step + 1) / max(1, 0.03 * total))
            * 0.5
            * (1 + math.cos(math.pi * step / total))
        ),
    )
    order = np.zeros(0, np.int64)
    observer.train()
    for _ in range(total):
        if len(order) < size:
            order = rng.permutation(len(frames.images))
        chosen, order = order[:size], order[size:]
        images, labels, pasted = (
            part.to(watched.device) for part in draw(frames, chosen, training, rng)
        )
        pixels = attacked(watched, images, labels, training, generator)
        observed, logits = observe(pixels)
        value = loss(observed, logits.argmax(dim=1), labels, pasted, training)
        if not torch.isfinite(value):
            raise FloatingPointError('the observer of obsnet diverged; lower learning_rate')
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        advance()
    observer.eval()
