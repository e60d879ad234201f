"""Stage 3: attack the frozen backbone and train the observer to see where it fails."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from offline_training.attacks.local_adversarial import REGIONS, local_attack, region_mask
from offline_training.attacks.pasting import paste_objects
from offline_training.backbones.base import Backbone
from offline_training.context import Context, NetworkData
from offline_training.data.base import VOID
from offline_training.detectors.observer import Observer
from offline_training.graphs import chosen_taps, tap_shapes
from offline_training.normalization import Normalize
from offline_training.storage import (
    read_checkpoint,
    read_json,
    read_tensors,
    write_checkpoint,
    write_json,
    write_tensors,
)
from ros2_ood_monitor.manifest import MAP_STRIDE

CLEAN_SHARE = 0.1
"""Images without any pasted object, so that normal edges stay normal."""
POSITIVE_WEIGHT = 2.0
ERROR_WEIGHT = 0.3
"""Weight of the mis-segmentation loss beside the loss of the unknown."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images uint8 (B, H, W, 3), pasted masks float (B, 1, H, W), labels int64 (B, H, W)."""

    images: Tensor
    pasted: Tensor
    labels: Tensor
    attacked: Tensor | None
    """Where to attack the network, float (B, 1, H, W); None = not in this batch."""


def build(context: Context, backbone: Backbone) -> Observer:
    """Return an untrained observer for this backbone and configuration."""
    config, size = context.config.observer, context.config.input
    shapes = tap_shapes(backbone, size.height, size.width)
    taps = chosen_taps(shapes, config.taps or tuple(shapes), 'observer.taps')
    return Observer(taps, config.width).to(context.device)


def restore(context: Context, backbone: Backbone) -> Observer:
    """Return the trained observer of this run, frozen."""
    observer = build(context, backbone)
    observer.load_state_dict(read_tensors(context.output_dir / 'observer.safetensors'))
    return observer.eval().requires_grad_(False)


def run(context: Context) -> None:
    """Write observer.safetensors and observer.json (loss per epoch)."""
    config = context.config.observer
    torch.manual_seed(config.seed)
    backbone = context.backbone()
    normalize = context.normalize()
    observer = build(context, backbone)
    optimizer = torch.optim.AdamW(
        observer.parameters(), lr=config.learning_rate, weight_decay=1e-3
    )
    data = context.train_data
    steps = max(1, len(data.images) // config.batch_size)
    total = steps * config.epochs
    path = context.output_dir / 'checkpoints' / 'observer.pt'
    history: list[float] = []
    if state := read_checkpoint(path):
        observer.load_state_dict(state['observer'])
        optimizer.load_state_dict(state['optimizer'])
        history = state['history']

    with context.progress() as bars:
        task = bars.add_task('observer', total=total, completed=steps * len(history))
        for epoch in range(len(history), config.epochs):
            generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
            losses = []
            for number, batch in enumerate(_batches(context, data, epoch, steps)):
                rate = _learning_rate(config.learning_rate, epoch * steps + number, total)
                for group in optimizer.param_groups:
                    group['lr'] = rate
                loss = _loss(context, backbone, normalize, observer, batch, generator)
                if not torch.isfinite(loss):
                    raise FloatingPointError(
                        f'the observer diverged in epoch {epoch}; lower observer.learning_rate'
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bars.advance(task)
            history.append(float(np.mean(losses)))
            bars.update(task, description=f'observer, loss {history[-1]:.3f}')
            write_checkpoint(path, {
                'observer': observer.state_dict(), 'optimizer': optimizer.state_dict(),
                'history': history,
            })
    write_tensors(context.output_dir / 'observer.safetensors', observer.state_dict())
    write_json(context.output_dir / 'observer.json', {'loss': history})


def _learning_rate(peak: float, step: int, total: int) -> float:
    """Linear warm-up over 3 % of the steps, then cosine to zero."""
    warmup = max(1, round(0.03 * total))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _batches(context: Context, data: NetworkData, epoch: int, steps: int) -> Iterator[Batch]:
    """Draw the batches of one epoch; a thread prepares the next while the network learns."""
    ready: queue.Queue[Batch] = queue.Queue(3)
    stop = threading.Event()

    def prepare() -> None:
        rng = np.random.default_rng((context.config.observer.seed, epoch))
        order = rng.permutation(len(data.images))
        size = context.config.observer.batch_size
        for number in range(steps):
            chosen = order[number * size : (number + 1) * size]
            batch = _batch(context, data, rng, chosen)
            while not stop.is_set():
                try:
                    ready.put(batch, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if stop.is_set():
                return

    thread = threading.Thread(target=prepare, daemon=True)
    thread.start()
    try:
        for _ in range(steps):
            yield ready.get()
    finally:
        stop.set()
        thread.join()


def _batch(
    context: Context, data: NetworkData, rng: np.random.Generator, chosen: NDArray[np.int64]
) -> Batch:
    config = context.config.observer
    attack = rng.random() < config.attack_share
    images, pasted, labels, attacked = [], [], [], []
    for index in chosen:
        image, truth = data.images[index], data.labels[index]
        if rng.random() < 0.5:
            image, truth = image[:, ::-1], truth[:, ::-1]
        mask = np.zeros(truth.shape, np.uint8)
        if rng.random() >= CLEAN_SHARE:
            donor = data.images[int(rng.integers(len(data.images)))]
            image, mask = paste_objects(rng, image, donor, config.max_objects)
        if rng.random() < 0.5:
            image = _camera_variation(rng, image)
        images.append(np.ascontiguousarray(image))
        pasted.append(mask)
        labels.append(np.ascontiguousarray(truth))
        if attack:
            region = REGIONS[rng.integers(len(REGIONS))]
            attacked.append(region_mask(rng, region, truth))
    device = context.device
    return Batch(
        torch.from_numpy(np.stack(images)).to(device),
        torch.from_numpy(np.stack(pasted))[:, None].float().to(device),
        torch.from_numpy(np.stack(labels)).long().to(device),
        torch.from_numpy(np.stack(attacked))[:, None].to(device) if attack else None,
    )


def _camera_variation(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change exposure and grain of the whole frame: that alone is not unknown."""
    noise = rng.normal(0, rng.uniform(0, 4), image.shape)
    varied = image * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15) + noise
    return np.clip(varied, 0, 255).astype(np.uint8)


def _loss(
    context: Context,
    backbone: Backbone,
    normalize: Normalize,
    observer: Observer,
    batch: Batch,
    generator: torch.Generator,
) -> Tensor:
    pixels = batch.images
    attacked = torch.zeros_like(batch.pasted)
    if batch.attacked is not None:
        attacked = batch.attacked
        pixels = _attack(context, backbone, normalize, batch, attacked, generator)
    with torch.no_grad():
        logits, taps = backbone.features(normalize(pixels))
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
    context: Context,
    backbone: Backbone,
    normalize: Normalize,
    batch: Batch,
    mask: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Return the attacked images as float (B, H, W, 3)."""

    def segment(pixels: Tensor) -> Tensor:
        return backbone(normalize(pixels.permute(0, 2, 3, 1)))

    outputs = int(read_json(context.output_dir / 'backbone.json')['num_classes'])
    # Labels beyond the outputs (void) cannot be attacked.
    labels = torch.where(batch.labels < outputs, batch.labels, VOID)
    mode: Literal['min', 'max'] = 'min' if torch.rand((), generator=generator) < 0.5 else 'max'
    attacked = local_attack(
        segment,
        batch.images.permute(0, 3, 1, 2).float(),
        labels,
        mask,
        255 * context.config.observer.epsilon,
        mode,
        generator,
    )
    return attacked.permute(0, 2, 3, 1)
