"""How the dense flow learns: the density of whitened taps at correctly segmented normal pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from offline_training.data.frames import Frames
from offline_training.detectors.dense_flow.flow import DenseFlow, TapFlow
from offline_training.learning.batches import TensorBatches
from offline_training.learning.schedule import Schedule
from offline_training.learning.session import Session
from offline_training.learning.settings import ConfigError, setting, settings
from offline_training.learning.task import Learned, Task
from offline_training.learning.training import learn
from offline_training.watched.base import Watched
from offline_training.watched.graphs import chosen_taps, tap_shapes
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE


@dataclass(frozen=True)
@settings('flow')
class FlowConfig:
    """Normalising flow on whitened backbone taps."""

    taps: tuple[str, ...] = setting(
        (), 'Names of the backbone taps; empty = the last of the coarsest, at most of stride 16.'
    )
    channels: int = setting(48, 'Dimensions kept after whitening.', low=1, high=100_000)
    layers: int = setting(4, 'Coupling layers.', low=1, high=100_000)
    hidden: int = setting(64, 'Width of the networks in a coupling.', low=1, high=100_000)
    epochs: int = setting(12, 'Passes over the sampled pixels.', low=1, high=100_000)
    batch_size: int = setting(4096, 'Pixels per step, not images.', low=1, high=100_000)
    learning_rate: float = setting(2e-3, 'Step size of Adam.', low=1e-7, high=1)
    seed: int = setting(1, 'Seed of weights and sampling.', low=0, high=2**31 - 1)


PIXELS_PER_IMAGE = 800
MAX_IMAGES = 400
"""More images tell little more: 320,000 samples are plenty for ten thousand weights."""

COARSEST = 16
"""Stride of the taps beyond which a cell of the flow is larger than what it is to find."""


def default_taps(shapes: dict[str, tuple[int, int]]) -> tuple[str, ...]:
    """Return the last of the coarsest taps up to `COARSEST`: meaning, not texture."""
    deepest = max((s for _, s in shapes.values() if s <= COARSEST), default=None)
    return tuple(name for name, (_, stride) in shapes.items() if stride == deepest)[-1:]


def build_flow(network: nn.Module, config: FlowConfig, height: int, width: int) -> TapFlow:
    """Return an untrained flow for images of this size, on the CPU.

    Raises:
        StorageError: `flow.taps` names a tap that the network does not have.
        ConfigError: the taps have fewer channels than `flow.channels`, or a stride that does not
            divide the image.
    """
    shapes = tap_shapes(network, height, width)
    taps = chosen_taps(shapes, config.taps or default_taps(shapes), 'flow.taps')
    coarsest = max(stride for _, stride in taps.values())
    if height % coarsest or width % coarsest:
        raise ConfigError(
            f'images of {width}x{height} are not divided evenly by the stride {coarsest} of the '
            f'taps {", ".join(taps)}; take multiples of {coarsest} for input.width and '
            'input.height, or finer flow.taps'
        )
    channels = sum(channels for channels, _ in taps.values())
    if config.channels > channels:
        raise ConfigError(
            f'flow.channels is {config.channels} but the taps {", ".join(taps)} have {channels} '
            'channels together; lower it or name more taps'
        )
    return TapFlow(
        tuple(taps),
        channels,
        (height // coarsest, width // coarsest),
        (height // MAP_STRIDE, width // MAP_STRIDE),
        DenseFlow(config.channels, config.layers, config.hidden, seed=config.seed),
    )


def collect(
    watched: Watched,
    flow: TapFlow,
    frames: Frames,
    seed: int,
    advance: Callable[[float], object],
) -> tuple[Tensor, Tensor]:
    """Sample features (N, C) and positions (N, 2, 1, 1) at correctly segmented pixels.

    `advance` is called with how many of the `frames` are done since the last call.
    """
    rng = np.random.default_rng(seed)
    step = math.ceil(len(frames) / MAX_IMAGES)
    features, positions = [], []
    rows, columns = flow.position.shape[-2:]
    for image, truth_map in frames.subset(range(0, len(frames), step)):
        with torch.inference_mode():
            logits, taps = watched.features(torch.from_numpy(image)[None].to(watched.device))
            gathered = flow.gather(taps)[0].flatten(1).T.cpu()
            predicted = logits.argmax(1)[0].cpu().numpy()
        step_y, step_x = truth_map.shape[0] // rows, truth_map.shape[1] // columns
        centre = np.s_[step_y // 2 :: step_y, step_x // 2 :: step_x]
        truth = truth_map[centre][:rows, :columns].ravel()
        right = predicted[centre][:rows, :columns].ravel() == truth
        chosen = _balanced(rng, truth, right, PIXELS_PER_IMAGE)
        features.append(gathered[chosen])
        positions.append(flow.position[0].flatten(1).T.cpu()[chosen])
        advance(step)
    where = torch.cat(positions)[..., None, None].to(watched.device)
    return torch.cat(features).to(watched.device).clone(), where


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


def whiten(flow: TapFlow, samples: Tensor) -> Tensor:
    """Return features (N, C) as whitened 1x1 images (N, D, 1, 1)."""
    with torch.inference_mode():
        return torch.cat([flow.whitening(part[..., None, None]) for part in samples.split(8192)])


def nll(flow: DenseFlow, x: Tensor, condition: Tensor) -> Tensor:
    """Return the mean negative log density per dimension, in nats."""
    return -flow.log_prob(x, condition).mean() / flow.dimensions


def train_flow(
    flow: TapFlow, samples: Tensor, where: Tensor, config: FlowConfig, session: Session
) -> Learned:
    """Train the flow in place on features (N, C) at positions (N, 2, 1, 1).

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    density = flow.flow
    return learn(
        Task(
            'flow',
            density,
            lambda x, condition: nll(density, x, condition),
            TensorBatches([whiten(flow, samples), where], config.batch_size, config.seed),
            torch.optim.Adam(density.parameters(), lr=config.learning_rate),
            config.epochs,
            'lower flow.learning_rate',
            config.seed,
            # A rate for each epoch: a smooth fall learns too little in the few there are.
            Schedule('cosine', holds=config.epochs),
            clip=1.0,
            short_steps=True,
        ),
        session,
    )
