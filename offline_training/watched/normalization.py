"""What the watched network sees: size, colour order and the one normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from offline_training.learning.settings import setting, settings

FROM_IMAGES = (
    'the size of the images, the longer side at most 1024, in whole strides of the network'
)


@dataclass(frozen=True)
@settings('input')
class InputConfig:
    """What the network sees: size, colour order and normalisation (x - mean) / std, x in 0..255.

    `mean` and `std` are in `color_order`.
    """

    width: int = setting(
        256, 'Pixels per row.', low=32, high=4096, multiple=8, derived=FROM_IMAGES
    )
    height: int = setting(192, 'Rows.', low=32, high=4096, multiple=8, derived=FROM_IMAGES)
    color_order: Literal['rgb', 'bgr'] = setting(
        'rgb', 'Order of the colours the network was or is trained on.'
    )
    mean: tuple[float, float, float] = setting(
        (123.675, 116.28, 103.53),
        'Subtracted from each colour, in color_order.',
        low=-100_000,
        high=100_000,
    )
    std: tuple[float, float, float] = setting(
        (58.395, 57.12, 57.375),
        'Each colour is divided by this, in color_order.',
        above=0,
        high=1_000_000,
    )


class Normalize(nn.Module):
    """uint8 (B, H, W, 3) in the model's colour order -> float32 (B, 3, H, W), (x - mean) / std.

    The result keeps the channels-last memory layout of the input, which CPU convolutions prefer.
    """

    def __init__(self, config: InputConfig) -> None:
        super().__init__()
        self.color_order = config.color_order
        self.mean: Tensor = nn.Buffer(
            torch.tensor(config.mean, dtype=torch.float32).view(1, 3, 1, 1)
        )
        self.std: Tensor = nn.Buffer(
            torch.tensor(config.std, dtype=torch.float32).view(1, 3, 1, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        # Float first: TensorRT refuses to transpose bytes.
        return (images.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) / self.std
