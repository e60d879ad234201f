"""How the light observer learns: pasted unknowns and local attacks on the frozen network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.attacks.gradient_sign import channels_first
from offline_training.attacks.local_adversarial import REGIONS, local_attack, region_mask
from offline_training.data.base import VOID
from offline_training.data.frames import Frames
from offline_training.detectors.observer.observer import Observer
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.schedule import WARM_COSINE
from offline_training.learning.session import Session
from offline_training.learning.settings import setting, settings
from offline_training.learning.task import Learned, Task
from offline_training.learning.training import learn
from offline_training.synthesis.negatives import Negatives, training_negatives
from offline_training.synthesis.pasting import paste_objects
from offline_training.watched.base import Watched
from offline_training.watched.graphs import chosen_taps, tap_shapes
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE
from ros2_ood_monitor.frame import UInt8Array


@dataclass(frozen=True)
@settings('observer')
class ObserverConfig:
    """Observer head, trained on local adversarial attacks and pasted textures."""

    taps: tuple[str, ...] = setting((), 'Names of the backbone taps; empty = all.')
    width: int = setting(32, 'Channels of the head.', low=8, high=512)
    epochs: int = setting(8, 'Passes over the training set.', low=1, high=100_000)
    batch_size: int = setting(6, 'Images per step.', low=1, high=100_000)
    learning_rate: float = setting(3e-3, 'Highest step size of AdamW.', low=1e-7, high=1)
    attack_share: float = setting(
        0.15, 'Share of batches with a local adversarial attack on the backbone.', low=0, high=1
    )
    epsilon: float = setting(
        0.007,
        "Size of the attack's step, in 0..1 of the pixel range (ObsNet: 0.025 deviations).",
        low=0,
        high=1,
    )
    max_objects: int = setting(4, 'Most unknown objects pasted into one image.', low=1, high=20)
    objects: str | None = setting(
        None,
        'Folder of cut-outs (images with alpha) that half of the pasted objects are taken from.',
        null='all of them are generated',
    )
    seed: int = setting(1, 'Seed of weights, objects and attacks.', low=0, high=2**31 - 1)


CLEAN_SHARE = 0.1
"""Images without any pasted object, so that normal edges stay normal."""
POSITIVE_WEIGHT = 2.0
ERROR_WEIGHT = 0.3
"""Weight of the mis-segmentation loss beside the loss of the unknown."""


def build_observer(
    network: nn.Module, config: ObserverConfig, height: int, width: int
) -> Observer:
    """Return an untrained observer of `network` for images of this size, on the CPU.

    Raises:
        StorageError: `observer.taps` names a tap that the network does not have.
    """
    shapes = tap_shapes(network, height, width)
    taps = chosen_taps(shapes, config.taps or tuple(shapes), 'observer.taps')
    return Observer(taps, config.width)


def train_observer(
    observer: Observer, watched: Watched, frames: Frames, config: ObserverConfig, session: Session
) -> Learned:
    """Train the observer in place on pasted unknowns and local attacks.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    negatives = training_negatives(config.objects, watched.color_order)
    return learn(
        Task(
            'observer',
            observer,
            partial(_loss, observer, watched, config),
            DrawnBatches(
                len(frames),
                partial(draw, frames, config, negatives),
                config.batch_size,
                config.seed,
                watched.device,
                session,
            ),
            torch.optim.AdamW(observer.parameters(), lr=config.learning_rate, weight_decay=1e-3),
            config.epochs,
            'lower observer.learning_rate',
            config.seed,
            WARM_COSINE,
            mixed=True,
        ),
        session,
    )


def draw(
    frames: Frames,
    config: ObserverConfig,
    negatives: Negatives,
    index: int,
    rng: np.random.Generator,
    _: float,
) -> tuple[UInt8Array, UInt8Array, UInt8Array]:
    """Draw an image (H, W, 3), where objects are pasted in it (H, W) of 0 or 1, and its labels."""
    image, truth = frames[index]
    if rng.random() < 0.5:
        image, truth = image[:, ::-1], truth[:, ::-1]
    mask = np.zeros(truth.shape, np.uint8)
    if rng.random() >= CLEAN_SHARE:
        donor = frames[int(rng.integers(len(frames)))][0]
        image, mask = paste_objects(rng, image, donor, config.max_objects, negatives)
    if rng.random() < 0.5:
        image = _camera_variation(rng, image)
    return image, mask, truth


def _camera_variation(rng: np.random.Generator, image: UInt8Array) -> UInt8Array:
    """Change exposure and grain of the whole frame: that alone is not unknown."""
    noise = rng.normal(0, rng.uniform(0, 4), image.shape)
    varied = image * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15) + noise
    return np.clip(varied, 0, 255).astype(np.uint8)


def _loss(
    observer: Observer,
    watched: Watched,
    config: ObserverConfig,
    images: Tensor,
    masks: Tensor,
    truth: Tensor,
) -> Tensor:
    labels, pasted = truth.long(), masks[:, None].float()
    pixels, attacked = images, torch.zeros_like(pasted)
    with torch.autocast(watched.device.type, enabled=False):  # as exact as when it will run
        if torch.rand(()) < config.attack_share:
            pixels, attacked = _attack(watched, images, labels, config.epsilon)
        with torch.no_grad():
            logits, taps = watched.features(pixels)
    observed = observer(taps)

    cover = F.avg_pool2d(pasted, MAP_STRIDE)
    void = F.avg_pool2d((labels == VOID).float()[:, None], MAP_STRIDE) > 0.5
    unknown = (cover > 0.5).float()
    # Rims of objects, void and attacked patches are neither known nor unknown.
    weight = ((cover == 0) | (cover > 0.5)).float()
    weight = weight * (~(void & (unknown == 0))).float()
    weight = weight * ((F.avg_pool2d(attacked, MAP_STRIDE) == 0) | (unknown > 0)).float()
    positive = torch.tensor(POSITIVE_WEIGHT, device=observed.device)
    unknown_loss = F.binary_cross_entropy_with_logits(
        observed[:, :1], unknown, reduction='none', pos_weight=positive
    )

    counted_pixels = ((labels != VOID)[:, None] | (pasted > 0)).float()
    wrong = (logits.argmax(1) != labels)[:, None] | (pasted > 0)
    share = F.avg_pool2d(wrong.float() * counted_pixels, MAP_STRIDE)
    counted = F.avg_pool2d(counted_pixels, MAP_STRIDE)
    error_loss = F.binary_cross_entropy_with_logits(
        observed[:, 1:], share / counted.clamp_min(1e-6), reduction='none'
    )
    return (unknown_loss * weight).sum() / weight.sum().clamp_min(1) + ERROR_WEIGHT * (
        (error_loss * counted).sum() / counted.sum().clamp_min(1)
    )


def _attack(
    watched: Watched, images: Tensor, labels: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return the attacked images as float (B, H, W, 3) and where, float (B, 1, H, W)."""
    rng = np.random.default_rng(int(torch.randint(2**62, ())))
    regions = [
        region_mask(rng, REGIONS[rng.integers(len(REGIONS))], one) for one in labels.cpu().numpy()
    ]
    mask = torch.from_numpy(np.stack(regions))[:, None].to(images.device)
    # Labels that are no output (void) cannot be attacked.
    known = torch.where(labels < watched.num_classes, labels, VOID)
    mode: Literal['min', 'max'] = 'min' if torch.rand(()) < 0.5 else 'max'
    attacked = local_attack(
        channels_first(watched),
        images.permute(0, 3, 1, 2).float(),
        known,
        mask,
        255 * epsilon,
        mode,
        torch.default_generator,
    )
    return attacked.permute(0, 2, 3, 1), mask
