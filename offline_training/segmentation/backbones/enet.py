"""ENet (Paszke, Chaurasia, Kim, Culurciello: "ENet", 2016), about 0.36 M parameters."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.segmentation.backbones.base import Backbone
from offline_training.segmentation.backbones.unpooling import phase_unpool

RATIO = 4
# Stages 2 and 3 repeat this: (kind, dilation).
CONTEXT = (
    ('regular', 1),
    ('regular', 2),
    ('asymmetric', 1),
    ('regular', 4),
    ('regular', 1),
    ('regular', 8),
    ('asymmetric', 1),
    ('regular', 16),
)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, one PReLU slope for all channels."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(),
    )


class _Initial(nn.Module):
    """Half resolution: 13 learned channels beside the max-pooled image."""

    def __init__(self, pooling: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 13, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.activation = nn.PReLU(16)
        self.pool = nn.MaxPool2d(pooling, stride=2, padding=(pooling - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(torch.cat([self.conv(x), self.pool(x)], dim=1)))


class _Bottleneck(nn.Module):
    """Reduce, convolve (3x3, dilated or 5x1 then 1x5), expand, drop out, add the input."""

    def __init__(self, channels: int, dropout: float, kind: str = 'regular', dilation: int = 1):
        super().__init__()
        inner = channels // RATIO
        self.reduce = _conv(channels, inner)
        if kind == 'asymmetric':
            self.middle = nn.Sequential(
                nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False),
                nn.BatchNorm2d(inner),
                nn.PReLU(),
                nn.Conv2d(inner, inner, (1, 5), padding=(0, 2), bias=False),
                nn.BatchNorm2d(inner),
                nn.PReLU(),
            )
        else:
            self.middle = nn.Sequential(
                nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(inner),
                nn.PReLU(),
            )
        self.expand = _conv(inner, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.activation = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.dropout(self.expand(self.middle(self.reduce(x)))))


class _Down(nn.Module):
    """Halve the resolution; the main branch is max-pooled and padded with zero channels."""

    def __init__(self, inputs: int, outputs: int, dropout: float, pooling: int) -> None:
        super().__init__()
        inner = inputs // RATIO
        self.pooling = pooling
        self.added = outputs - inputs
        self.reduce = _conv(inputs, inner, 2, 2)
        self.middle = nn.Sequential(
            nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.PReLU()
        )
        self.expand = _conv(inner, outputs)
        self.dropout = nn.Dropout2d(dropout)
        self.activation = nn.PReLU(outputs)

    def forward(self, x: Tensor, with_indices: bool) -> tuple[Tensor, Tensor | None]:
        size, padding = self.pooling, (self.pooling - 1) // 2
        indices: Tensor | None = None
        if with_indices:
            main, indices = F.max_pool2d(x, size, 2, padding, return_indices=True)
        else:
            main = F.max_pool2d(x, size, 2, padding)
        main = F.pad(main, (0, 0, 0, 0, 0, self.added))
        return self.activation(
            main + self.dropout(self.expand(self.middle(self.reduce(x))))
        ), indices


class _Up(nn.Module):
    """Double the resolution; the main branch is unpooled to where the encoder's maxima were."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        inner = inputs // RATIO
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.reduce = _conv(inputs, inner)
        self.middle = nn.Sequential(
            nn.ConvTranspose2d(inner, inner, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(),
        )
        self.expand = _conv(inner, outputs)
        self.dropout = nn.Dropout2d(dropout)
        self.activation = nn.PReLU(outputs)

    def forward(self, x: Tensor, pooled: Tensor, indices: Tensor | None) -> Tensor:
        main = self.main(x)
        if indices is None:
            main = phase_unpool(main, pooled)
        else:
            main = F.max_unpool2d(main, indices, [2, 2], output_size=pooled.shape[-2:])
        extension = self.dropout(self.expand(self.middle(self.reduce(x))))
        return self.activation(main + extension)


class ENet(Backbone):
    """ENet segmentation network, input (B, 3, H, W) with H and W multiples of 8.

    `pooling=2` unpools with indices in training and by the equal index-free form in evaluation,
    so that it can be exported. `pooling=3` is the layout of the public 2018 checkpoints; its
    overlapping windows have no index-free form, so it cannot be exported.

    Taps: `initial` (B, 16, H/2, W/2), `stage1` (B, 64, H/4, W/4), `stage2` and `stage3`
    (B, 128, H/8, W/8), `decoder` (B, 16, H/2, W/2).
    """

    def __init__(self, num_classes: int, pooling: Literal[2, 3] = 2) -> None:
        super().__init__()
        self.pooling = pooling
        self.exportable = pooling == 2
        self.initial = _Initial(pooling)
        self.down1 = _Down(16, 64, 0.01, pooling)
        self.stage1 = nn.Sequential(*(_Bottleneck(64, 0.01) for _ in range(4)))
        self.down2 = _Down(64, 128, 0.1, pooling)
        self.stage2 = nn.Sequential(*(_Bottleneck(128, 0.1, *item) for item in CONTEXT))
        self.stage3 = nn.Sequential(*(_Bottleneck(128, 0.1, *item) for item in CONTEXT))
        self.up4 = _Up(128, 64, 0.1)
        self.stage4 = nn.Sequential(*(_Bottleneck(64, 0.1) for _ in range(2)))
        self.up5 = _Up(64, 16, 0.1)
        self.stage5 = nn.Sequential(_Bottleneck(16, 0.1))
        self.classifier = nn.ConvTranspose2d(
            16, num_classes, 3, 2, padding=1, output_padding=1, bias=False
        )

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps by name."""
        with_indices = self.training or self.pooling != 2
        initial = self.initial(x)
        down1, indices1 = self.down1(initial, with_indices)
        stage1 = self.stage1(down1)
        down2, indices2 = self.down2(stage1, with_indices)
        stage2 = self.stage2(down2)
        stage3 = self.stage3(stage2)
        stage4 = self.stage4(self.up4(stage3, stage1, indices2))
        decoder = self.stage5(self.up5(stage4, initial, indices1))
        taps = {
            'initial': initial,
            'stage1': stage1,
            'stage2': stage2,
            'stage3': stage3,
            'decoder': decoder,
        }
        return self.classifier(decoder), taps
