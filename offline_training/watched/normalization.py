"""Pixels to network input: the one normalisation of training, evaluation and export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offline_training.watched.config import InputConfig


class Normalize(nn.Module):
    """uint8 (B, H, W, 3) in the model's colour order -> float32 (B, 3, H, W), (x - mean) / std.

    The result keeps the channels-last memory layout of the input, which CPU convolutions prefer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: InputConfig) -> None:
        super().__init__()
        self.register_buffer(
            'mean', torch.tensor(config.mean, dtype=torch.float32).view(1, 3, 1, 1)
        )
        self.register_buffer('std', torch.tensor(config.std, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        # Float first: TensorRT refuses to transpose bytes.
        return (images.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) / self.std
