"""Labels from a trained network, one image after another."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from offline_training.data.base import VOID
from offline_training.measures.segmentation import ConfusionMatrix
from ros2_ood_monitor.frame import UInt8Array


def predict_labels(
    network: nn.Module, normalize: nn.Module, image: UInt8Array, num_classes: int
) -> UInt8Array:
    """Return uint8 labels (H, W) of one image (H, W, 3) in model colour order.

    Output channels from `num_classes` on (a trained void class) become 255.
    """
    device = next(network.parameters()).device
    logits = network(normalize(torch.from_numpy(image)[None].to(device)))
    labels = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
    return np.where(labels >= num_classes, VOID, labels).astype(np.uint8)


def confusion(
    network: nn.Module,
    normalize: nn.Module,
    frames: Iterable[tuple[UInt8Array, UInt8Array]],
    num_classes: int,
) -> ConfusionMatrix:
    """Return the confusion matrix of a network over images of network size with their labels."""
    matrix = ConfusionMatrix(num_classes)
    with torch.inference_mode():
        for image, truth in frames:
            matrix.update(truth, predict_labels(network, normalize, image, num_classes))
    return matrix
