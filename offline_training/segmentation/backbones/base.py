"""The segmentation network as detectors see it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A segmentation network that returns inner activations ("taps").

    Calling it maps normalised float32 (B, 3, H, W) to logits (B, C, H, W).
    """

    exportable: bool = True
    """Whether evaluation uses only operators that ONNX and TensorRT have."""

    @abstractmethod
    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps by name, each (B, C_i, H/s_i, W/s_i)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0]
