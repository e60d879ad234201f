"""Training of the image classifiers of Deep Residual Flow's protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from offline_training.data.frames import Frames
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.schedule import Schedule
from offline_training.learning.session import Session
from offline_training.learning.task import Task
from offline_training.learning.training import learn
from offline_training.segmentation.backbones.classifiers import Classifier
from ros2_ood_monitor.frame import UInt8Array

PADDING = 4
"""Pixels by which training images are shifted at most."""
PEAK_RATE, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-4


def augmented(image: UInt8Array, flip: bool, rng: np.random.Generator) -> UInt8Array:
    """Shift an image (H, W, 3) by up to `PADDING` pixels, and mirror every other."""
    rows, columns = image.shape[:2]
    padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    top, left, mirror = rng.integers(2 * PADDING + 1, size=3)
    cut = padded[top : top + rows, left : left + columns]
    return cut[:, ::-1] if flip and mirror % 2 else cut


def train_classifier(
    network: Classifier,
    normalize: nn.Module,
    frames: Frames,
    epochs: int,
    batch_size: int,
    flip: bool,
    seed: int,
    session: Session,
) -> None:
    """Train by stochastic gradient descent with momentum and a cosine schedule.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """

    def draw(index: int, rng: np.random.Generator, _: float) -> tuple[Any, ...]:
        image, label = frames[index]
        return augmented(image, flip, rng), label

    device = next(network.parameters()).device
    learn(
        Task(
            'classifier',
            network,
            lambda images, labels: F.cross_entropy(network(normalize(images)), labels.long()),
            DrawnBatches(len(frames), draw, batch_size, seed, device, session),
            torch.optim.SGD(
                network.parameters(), PEAK_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
            ),
            epochs,
            'take another --seed or a larger --batch-size',
            seed,
            Schedule('cosine', holds=epochs),
            mixed=True,
        ),
        session,
    )
