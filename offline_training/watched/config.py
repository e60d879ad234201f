"""What the watched network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offline_training.learning.settings import check


@dataclass(frozen=True)
class InputConfig:
    """What the network sees: size, colour order and normalisation (x - mean) / std, x in 0..255.

    `mean` and `std` are in `color_order`.
    """

    width: int = 256
    height: int = 192
    color_order: Literal['rgb', 'bgr'] = 'rgb'
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        for key in ('width', 'height'):
            value = getattr(self, key)
            check(
                'input',
                key,
                value,
                32 <= value <= 4096 and value % 8 == 0,
                'a multiple of 8 between 32 and 4096',
            )
        for value in self.std:
            check('input', 'std', list(self.std), value > 0, 'three numbers above 0')
