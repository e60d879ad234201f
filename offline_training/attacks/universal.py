"""GD-UAP: one perturbation for all frames, made without labels and, if need be, without frames.

Mopuri, Ganeshan, Babu, "Generalizable Data-free Objective for Crafting Universal Adversarial
Perturbations", 2018: the perturbation raises the activations as far as it can on any background,
so that they no longer depend on the frame. The paper raises all layers, this code the network's
taps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline_training.learning.store import StorageError, read_tensors, write_tensors

Features = Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
"""Images (B, 3, H, W) in 0..255 to logits and taps, as `channels_first(watched.features)`."""
Backgrounds = Callable[[torch.Generator], Tensor]
"""Draws images float32 (B, 3, H, W) in 0..255."""

SATURATED_SHARE = 0.5
"""From this share of values at their bound on, the perturbation may be too stiff to learn on."""
SATURATION_GAIN = 1e-5
"""It is too stiff where that share grows by less than this per step (paper, section 3.4)."""
PATIENCE = 10
"""Steps between two checks of saturation and of the share of changed predictions."""
KEY = 'perturbation'


def range_prior(batch: int, height: int, width: int, mean: Sequence[float]) -> Backgrounds:
    """Draw Gaussian noise instead of frames: only their mean colour, in grey levels, is known.

    Its standard deviation puts 99.9 % of a mid-grey image into 0..255 (paper, section 3.3.1).
    """
    centre = torch.tensor(mean).view(1, 3, 1, 1)

    def draw(generator: torch.Generator) -> Tensor:
        device = generator.device
        noise = torch.randn(batch, 3, height, width, generator=generator, device=device)
        return (centre.to(device) + 127.5 / 3.29 * noise).clamp(0, 255)

    return draw


def data_prior(batch: int, frames: Sequence[NDArray[np.uint8]]) -> Backgrounds:
    """Draw from frames uint8 (H, W, 3) of one size; their labels are not needed."""

    def draw(generator: torch.Generator) -> Tensor:
        device = generator.device
        chosen = torch.randint(len(frames), (batch,), generator=generator, device=device)
        pixels = np.stack([frames[index] for index in chosen.tolist()])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().to(device)

    return draw


def perturbed(images: Tensor, perturbation: Tensor) -> Tensor:
    """Add the perturbation (3, H, W) to images (B, 3, H, W) and clip to 0..255.

    Raises:
        ValueError: the perturbation was made for another size.
    """
    if images.shape[1:] != perturbation.shape:
        raise ValueError(
            f'the perturbation is {tuple(perturbation.shape)} but the images are '
            f'{tuple(images.shape[1:])}; make one for this size'
        )
    return (images + perturbation.to(images)).clamp(0, 255)


def log_activation(taps: Mapping[str, Tensor]) -> Tensor:
    """Return the sum over taps of the log of their Euclidean norm, averaged over the images.

    This is the log of the product the paper maximises (equation 3), which would overflow.
    """
    norms = [tap.flatten(1).square().sum(dim=1) for tap in taps.values()]
    return torch.stack([0.5 * (norm + 1e-12).log() for norm in norms]).sum(dim=0).mean()


def universal_perturbation(
    features: Features,
    backgrounds: Backgrounds,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    *,
    learning_rate: float | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return one perturbation float32 (3, H, W) within `epsilon` grey levels, for all frames.

    Adam raises `log_activation` on backgrounds drawn anew each step, with a learning rate of
    epsilon / 100 unless given (the paper's 0.1 at epsilon 10). Once most values are at their bound
    and their share stops growing, all are halved, so that training can continue. The best state is
    the one that changes the prediction of most pixels on held-out backgrounds, which needs no
    labels. Drawn on the generator's device and moved to `device`, the network's.

    Raises:
        ValueError: epsilon is not positive or there is no step to take.
    """
    if epsilon <= 0 or steps < 1:
        raise ValueError(
            f'epsilon is {epsilon} and steps is {steps}; a perturbation needs epsilon > 0 grey '
            'levels and at least one step'
        )
    if learning_rate is None:
        learning_rate = epsilon / 100
    device = device or generator.device
    held_out = backgrounds(generator).to(device)
    with torch.no_grad():
        answer = features(held_out)[0].argmax(dim=1)
    # Drawn on the generator's device, so that a seed gives the same start on every device.
    noise = 2 * torch.rand(held_out.shape[1:], generator=generator, device=generator.device) - 1
    delta = (epsilon * noise).to(device).requires_grad_(True)
    optimizer = torch.optim.Adam([delta], lr=learning_rate)
    best, most_fooled, saturated = delta.detach().clone(), -1.0, 0.0
    for step in range(1, steps + 1):
        pixels = backgrounds(generator).to(device)
        with torch.enable_grad():
            loss = -log_activation(features(perturbed(pixels, delta))[1])
            (delta.grad,) = torch.autograd.grad(loss, delta)
        optimizer.step()
        with torch.no_grad():
            delta.clamp_(-epsilon, epsilon)
            if step % PATIENCE and step != steps:
                continue
            changed = features(perturbed(held_out, delta))[0].argmax(dim=1) != answer
            fooled = changed.float().mean().item()
            if fooled > most_fooled:
                best, most_fooled = delta.detach().clone(), fooled
            before, saturated = saturated, (delta.abs() >= 0.999 * epsilon).float().mean().item()
            if saturated > SATURATED_SHARE and saturated - before < SATURATION_GAIN * PATIENCE:
                delta.mul_(0.5)
    return best


def save_perturbation(path: Path, perturbation: Tensor) -> None:
    """Write a perturbation (3, H, W) as safetensors, atomically."""
    write_tensors(path, {KEY: perturbation})


def load_perturbation(path: Path) -> Tensor:
    """Read what `save_perturbation` wrote; raises StorageError for any other file."""
    tensors = read_tensors(path)
    if set(tensors) != {KEY}:
        raise StorageError(f'{path} holds no universal perturbation; make one and save it')
    return tensors[KEY]
