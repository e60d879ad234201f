"""Stage 2: learn the density of whitened taps on correctly segmented normal pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from offline_training.backbones.base import Backbone
from offline_training.context import Context, NetworkData
from offline_training.detectors.flow import DenseFlow, TapFlow
from offline_training.graphs import chosen_taps, tap_shapes
from offline_training.storage import (
    read_checkpoint,
    read_tensors,
    write_checkpoint,
    write_json,
    write_tensors,
)
from ros2_ood_monitor.manifest import MAP_STRIDE

PIXELS_PER_IMAGE = 800
MAX_IMAGES = 400
"""More pictures tell little more: 320,000 samples are plenty for ten thousand weights."""


def default_taps(shapes: dict[str, tuple[int, int]]) -> tuple[str, ...]:
    """Return the taps at map resolution and coarser: finer ones are texture, not meaning."""
    return tuple(name for name, (_, stride) in shapes.items() if stride >= MAP_STRIDE)


def build(context: Context, backbone: Backbone) -> TapFlow:
    """Return an untrained flow for this backbone and configuration."""
    config, size = context.config.flow, context.config.input
    shapes = tap_shapes(backbone, size.height, size.width)
    taps = chosen_taps(shapes, config.taps or default_taps(shapes), 'flow.taps')
    coarsest = max(stride for _, stride in taps.values())
    return TapFlow(
        tuple(taps),
        sum(channels for channels, _ in taps.values()),
        (size.height // coarsest, size.width // coarsest),
        (size.height // MAP_STRIDE, size.width // MAP_STRIDE),
        DenseFlow(config.channels, config.layers, config.hidden, seed=config.seed),
    ).to(context.device)


def restore(context: Context, backbone: Backbone) -> TapFlow:
    """Return the trained flow of this run, frozen."""
    flow = build(context, backbone)
    flow.load_state_dict(read_tensors(context.output_dir / 'flow.safetensors'))
    return flow.eval().requires_grad_(False)


def run(context: Context) -> None:
    """Write flow.safetensors and flow.json (negative log density per dimension, train and val)."""
    config = context.config.flow
    torch.manual_seed(config.seed)
    backbone = context.backbone()
    flow = build(context, backbone)
    with context.progress() as bars:
        train = bars.add_task('features of train', total=len(context.train_data.images))
        samples, where = _collect(
            context, backbone, flow, context.train_data, partial(bars.advance, train)
        )
        val = bars.add_task('features of val', total=len(context.val_data.images))
        held_out, held_where = _collect(
            context, backbone, flow, context.val_data, partial(bars.advance, val)
        )
    flow.whitening.fit(samples)
    with torch.inference_mode():
        white = torch.cat([flow.whitening(part) for part in _images(samples)])
        held_white = torch.cat([flow.whitening(part) for part in _images(held_out)])
    history = _fit(context, flow.flow, white, where, held_white, held_where)
    write_tensors(context.output_dir / 'flow.safetensors', flow.state_dict())
    write_json(
        context.output_dir / 'flow.json',
        {'taps': list(flow.taps), 'samples': len(samples), 'history': history},
    )
    context.console.print(f'flow: val {history[-1]["val"]:.3f} nats per dimension')


def _images(samples: Tensor) -> Iterator[Tensor]:
    """Samples (N, C) as 1x1 images in batches."""
    for part in samples.split(8192):
        yield part[..., None, None]


def _collect(
    context: Context, backbone: Backbone, flow: TapFlow, data: NetworkData,
    advance: Callable[[float], None],
) -> tuple[Tensor, Tensor]:
    """Sample features (N, C) and positions (N, 2, 1, 1) at correctly segmented pixels."""
    normalize = context.normalize()
    rng = np.random.default_rng(context.config.flow.seed)
    step = math.ceil(len(data.images) / MAX_IMAGES)
    features, positions = [], []
    rows, columns = flow.position.shape[-2:]
    for image, labels in zip(data.images[::step], data.labels[::step], strict=True):
        with torch.inference_mode():
            logits, taps = backbone.features(
                normalize(torch.from_numpy(image)[None].to(context.device))
            )
            gathered = flow.gather(taps)[0].flatten(1).T.cpu()
            predicted = logits.argmax(1)[0].cpu().numpy()
        step_y, step_x = labels.shape[0] // rows, labels.shape[1] // columns
        centre = np.s_[step_y // 2 :: step_y, step_x // 2 :: step_x]
        truth = labels[centre][:rows, :columns].ravel()
        right = predicted[centre][:rows, :columns].ravel() == truth
        chosen = _balanced(rng, truth, right, PIXELS_PER_IMAGE)
        features.append(gathered[chosen])
        positions.append(flow.position[0].flatten(1).T.cpu()[chosen])
        advance(step)
    where = torch.cat(positions)[..., None, None].to(context.device)
    return torch.cat(features).to(context.device).clone(), where


def _balanced(
    rng: np.random.Generator, truth: np.ndarray, right: np.ndarray, count: int
) -> np.ndarray:
    """Draw indices of right pixels, rare classes more often: flows raise false alarms there."""
    candidates = np.flatnonzero(right)
    if candidates.size == 0:
        return candidates
    frequency = np.bincount(truth[candidates], minlength=256)
    weight = 1 / np.sqrt(frequency[truth[candidates]])
    size = min(count, candidates.size)
    return rng.choice(candidates, size, replace=False, p=weight / weight.sum())


def _fit(
    context: Context,
    flow: DenseFlow,
    samples: Tensor,
    where: Tensor,
    held_out: Tensor,
    held_where: Tensor,
) -> list[dict[str, float]]:
    config = context.config.flow
    optimizer = torch.optim.Adam(flow.parameters(), lr=config.learning_rate)
    path = context.output_dir / 'checkpoints' / 'flow.pt'
    history: list[dict[str, float]] = []
    if state := read_checkpoint(path):
        flow.load_state_dict(state['flow'])
        optimizer.load_state_dict(state['optimizer'])
        history = state['history']

    def loss_of(x: Tensor, condition: Tensor) -> Tensor:
        return -flow.log_prob(x, condition).mean() / flow.dimensions

    with context.progress() as bars:
        task = bars.add_task('flow', total=config.epochs, completed=len(history))
        for epoch in range(len(history), config.epochs):
            rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
            for group in optimizer.param_groups:
                group['lr'] = rate
            generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
            order = torch.randperm(len(samples), generator=generator).to(samples.device)
            losses = []
            for index in order.split(config.batch_size):
                loss = loss_of(samples[index], where[index])
                if not torch.isfinite(loss):
                    raise FloatingPointError(
                        f'the flow diverged in epoch {epoch}; lower flow.learning_rate'
                    )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
                optimizer.step()
                losses.append(loss.item())
            with torch.inference_mode():
                val = float(np.mean([
                    loss_of(x, c).item()
                    for x, c in zip(held_out.split(8192), held_where.split(8192), strict=True)
                ]))
            history.append({'train': float(np.mean(losses)), 'val': val})
            write_checkpoint(path, {
                'flow': flow.state_dict(), 'optimizer': optimizer.state_dict(),
                'history': history,
            })
            bars.advance(task)
    return history
