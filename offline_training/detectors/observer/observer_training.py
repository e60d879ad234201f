"""How the light observer learns: pasted unknowns and local attacks on the frozen network."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from offline_training.attacks.gradient_sign import channels_first
from offline_training.attacks.local_adversarial import REGIONS, local_attack, region_mask
from offline_training.data.base import VOID
from offline_training.detectors.observer.config import ObserverConfig
from offline_training.detectors.observer.observer import Observer
from offline_training.synthesis.pasting import paste_objects
from offline_training.watched.base import Watched
from offline_training.watched.graphs import chosen_taps, tap_shapes
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE

CLEAN_SHARE = 0.1
"""Images without any pasted object, so that normal edges stay normal."""
POSITIVE_WEIGHT = 2.0
ERROR_WEIGHT = 0.3
"""Weight of the mis-segmentation loss beside the loss of the unknown."""

Images = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images uint8 (B, H, W, 3), pasted masks float (B, 1, H, W), labels int64 (B, H, W)."""

    images: Tensor
    pasted: Tensor
    labels: Tensor
    attacked: Tensor | None
    """Where to attack the network, float (B, 1, H, W); None = not in this batch."""


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


def new_optimizer(observer: Observer, config: ObserverConfig) -> torch.optim.Optimizer:
    """Return the optimizer that `train_epochs` steps."""
    return torch.optim.AdamW(observer.parameters(), lr=config.learning_rate, weight_decay=1e-3)


def steps_per_epoch(images: Images, config: ObserverConfig) -> int:
    """Return how many batches an epoch has."""
    return max(1, len(images) // config.batch_size)


def train_epochs(
    observer: Observer,
    optimizer: torch.optim.Optimizer,
    watched: Watched,
    images: Images,
    labels: Images,
    config: ObserverConfig,
    advance: Callable[[], object],
    first: int = 0,
) -> Iterator[float]:
    """Train in place and yield the mean loss of every epoch from `first` on.

    Every epoch draws from its own seed, so that a resumed training sees the same images.
    `images` are uint8 (H, W, 3), `labels` uint8 (H, W); `advance` is called after each step.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    steps = steps_per_epoch(images, config)
    total = steps * config.epochs
    for epoch in range(first, config.epochs):
        generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
        losses = []
        batches = _batches(images, labels, config, epoch, steps, watched.device)
        for number, batch in enumerate(batches):
            rate = _learning_rate(config.learning_rate, epoch * steps + number, total)
            for group in optimizer.param_groups:
                group['lr'] = rate
            loss = _loss(observer, watched, batch, config.epsilon, generator)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f'the observer diverged in epoch {epoch}; lower observer.learning_rate'
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            advance()
        yield float(np.mean(losses))


def _learning_rate(peak: float, step: int, total: int) -> float:
    """Linear warm-up over 3 % of the steps, then cosine to zero."""
    warmup = max(1, round(0.03 * total))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _batches(
    images: Images,
    labels: Images,
    config: ObserverConfig,
    epoch: int,
    steps: int,
    device: torch.device,
) -> Iterator[Batch]:
    """Draw the batches of one epoch; a thread prepares the next while the network learns.

    What goes wrong in the thread is raised here.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(3)
    stop = threading.Event()

    def hand_over(item: Batch | BaseException) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def prepare() -> None:
        try:
            draw()
        except BaseException as error:  # the consumer would wait for ever
            hand_over(error)

    def draw() -> None:
        rng = np.random.default_rng((config.seed, epoch))
        order = rng.permutation(len(images))
        size = config.batch_size
        for number in range(steps):
            chosen = order[number * size : (number + 1) * size]
            hand_over(_batch(images, labels, config, rng, chosen, device))
            if stop.is_set():
                return

    thread = threading.Thread(target=prepare, daemon=True)
    thread.start()
    try:
        for _ in range(steps):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _batch(
    images: Images,
    labels: Images,
    config: ObserverConfig,
    rng: np.random.Generator,
    chosen: NDArray[np.int64],
    device: torch.device,
) -> Batch:
    attack = rng.random() < config.attack_share
    changed, pasted, truths, attacked = [], [], [], []
    for index in chosen:
        image, truth = images[index], labels[index]
        if rng.random() < 0.5:
            image, truth = image[:, ::-1], truth[:, ::-1]
        mask = np.zeros(truth.shape, np.uint8)
        if rng.random() >= CLEAN_SHARE:
            donor = images[int(rng.integers(len(images)))]
            image, mask = paste_objects(rng, image, donor, config.max_objects)
        if rng.random() < 0.5:
            image = _camera_variation(rng, image)
        changed.append(np.ascontiguousarray(image))
        pasted.append(mask)
        truths.append(np.ascontiguousarray(truth))
        if attack:
            region = REGIONS[rng.integers(len(REGIONS))]
            attacked.append(region_mask(rng, region, truth))
    return Batch(
        torch.from_numpy(np.stack(changed)).to(device),
        torch.from_numpy(np.stack(pasted))[:, None].float().to(device),
        torch.from_numpy(np.stack(truths)).long().to(device),
        torch.from_numpy(np.stack(attacked))[:, None].to(device) if attack else None,
    )


def _camera_variation(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change exposure and grain of the whole frame: that alone is not unknown."""
    noise = rng.normal(0, rng.uniform(0, 4), image.shape)
    varied = image * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15) + noise
    return np.clip(varied, 0, 255).astype(np.uint8)


def _loss(
    observer: Observer,
    watched: Watched,
    batch: Batch,
    epsilon: float,
    generator: torch.Generator,
) -> Tensor:
    pixels: Tensor = batch.images
    attacked = torch.zeros_like(batch.pasted)
    if batch.attacked is not None:
        attacked = batch.attacked
        pixels = _attack(watched, batch, attacked, epsilon, generator)
    with torch.no_grad():
        logits, taps = watched.features(pixels)
    observed = observer(taps)

    cover = F.avg_pool2d(batch.pasted, MAP_STRIDE)
    void = F.avg_pool2d((batch.labels == VOID).float()[:, None], MAP_STRIDE) > 0.5
    unknown = (cover > 0.5).float()
    # Rims of objects, void and attacked patches are neither known nor unknown.
    weight = ((cover == 0) | (cover > 0.5)).float()
    weight = weight * (~(void & (unknown == 0))).float()
    weight = weight * ((F.avg_pool2d(attacked, MAP_STRIDE) == 0) | (unknown > 0)).float()
    positive = torch.tensor(POSITIVE_WEIGHT, device=observed.device)
    unknown_loss = F.binary_cross_entropy_with_logits(
        observed[:, :1], unknown, reduction='none', pos_weight=positive
    )

    judged = ((batch.labels != VOID)[:, None] | (batch.pasted > 0)).float()
    wrong = (logits.argmax(1) != batch.labels)[:, None] | (batch.pasted > 0)
    share = F.avg_pool2d(wrong.float() * judged, MAP_STRIDE)
    counted = F.avg_pool2d(judged, MAP_STRIDE)
    error_loss = F.binary_cross_entropy_with_logits(
        observed[:, 1:], share / counted.clamp_min(1e-6), reduction='none'
    )
    return (unknown_loss * weight).sum() / weight.sum().clamp_min(1) + ERROR_WEIGHT * (
        (error_loss * counted).sum() / counted.sum().clamp_min(1)
    )


def _attack(
    watched: Watched, batch: Batch, mask: Tensor, epsilon: float, generator: torch.Generator
) -> Tensor:
    """Return the attacked images as float (B, H, W, 3)."""
    # Labels that are no output (void) cannot be attacked.
    labels = torch.where(batch.labels < watched.num_classes, batch.labels, VOID)
    mode: Literal['min', 'max'] = 'min' if torch.rand((), generator=generator) < 0.5 else 'max'
    attacked = local_attack(
        channels_first(watched),
        batch.images.permute(0, 3, 1, 2).float(),
        labels,
        mask,
        255 * epsilon,
        mode,
        generator,
    )
    return attacked.permute(0, 2, 3, 1)
