"""The frozen network under watch, seen by detectors and attacks alike."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self


class TapNetwork(Protocol):
    """A segmentation network or classifier whose inner activations can be looked at."""

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W), or (B, C) of a classifier, and taps (B, C_i, H_i, W_i)."""


class Watched(nn.Module):
    """The frozen network that is watched, with its own normalisation.

    Images are (B, H, W, 3) in 0..255 and model colour order, uint8, or float32 where a gradient
    with respect to the pixels is wanted. Parameters never require gradients, and the network stays
    in evaluation mode: batch statistics must not move while it is watched or attacked.
    """

    def __init__(self, network: nn.Module, normalize: nn.Module, num_classes: int):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.normalize = normalize
        self.num_classes = num_classes
        """Classes with labels; output channels beyond them are void."""
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever a parent module does."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    def features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps of images (B, H, W, 3)."""
        logits, taps = self.network.features(self.normalize(images))  # type: ignore[operator]
        return logits, taps

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits alone."""
        return self.features(images)[0]
