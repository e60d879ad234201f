"""Observer head: learns from attacks where the backbone fails (after ObsNet, Besnier et al. 2021).

ObsNet copies the whole network; this head reads the taps that the frozen backbone computes anyway,
which keeps the monitor at frame rate.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ros2_ood_monitor.manifest import MAP_STRIDE


def local_contrast(pooled: Tensor, pooled_square: Tensor) -> Tensor:
    """Standard deviation over 3x3 map pixels from pooled x and x², both (B, C, H/4, W/4).

    Texture, edges and noise: surfaces of unknown things differ there even when their mean colour
    is ordinary.
    """
    mean = F.avg_pool2d(pooled, 3, 1, 1)
    # Zero padding counts in both moments, so the result stays a variance at the border.
    variance = F.avg_pool2d(pooled_square, 3, 1, 1) - mean * mean
    return variance.clamp_min(1e-8).sqrt()


class Block(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups: int = 1
    ):
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Observer(nn.Module):
    """Two logits per map pixel from the taps: channel 0 "unknown", channel 1 "mis-segmented".

    `taps` gives (channels, stride) of each tap by name. Input: mapping of taps (B, C_i, H/s_i,
    W/s_i); output (B, 2, H/4, W/4). Taps finer than the map enter pooled, the first of them also
    as local contrast; coarser ones give context.
    """

    def __init__(self, taps: Mapping[str, tuple[int, int]], width: int = 32):
        super().__init__()
        self.strides = {name: stride for name, (_, stride) in taps.items()}
        fine = [name for name, stride in self.strides.items() if stride <= MAP_STRIDE]
        self.contrasted = next((n for n in fine if self.strides[n] < MAP_STRIDE), None)
        channels = {name: taps[name][0] * (2 if name == self.contrasted else 1) for name in fine}
        # Half as wide as the context: these layers run on four times as many pixels.
        self.fine = nn.ModuleDict({name: Block(channels[name], width // 2) for name in fine})
        self.mix = Block(width // 2 * len(fine), width)
        self.coarse = nn.ModuleDict(
            {name: Block(taps[name][0], width) for name in taps if name not in fine}
        )
        self.context = nn.Sequential(
            Block((1 + len(self.coarse)) * width, width),
            Block(width, width, 3),
            Block(width, width, 3, dilation=2),
            Block(width, width, 3, dilation=4),
        )
        self.head = nn.Sequential(
            Block(2 * width, width),
            Block(width, width, 3, groups=width),
            nn.Conv2d(width, 2, 1),
        )

    def forward(self, taps: Mapping[str, Tensor]) -> Tensor:
        fine = []
        for name, block in self.fine.items():
            x = taps[name]
            factor = MAP_STRIDE // self.strides[name]
            pooled = F.avg_pool2d(x, factor) if factor > 1 else x
            if name == self.contrasted:
                contrast = local_contrast(pooled, F.avg_pool2d(x * x, factor))
                pooled = torch.cat([pooled, contrast], dim=1)
            fine.append(block(pooled))
        mixed = self.mix(torch.cat(fine, dim=1))
        half = F.avg_pool2d(mixed, 2)
        coarse = [half]
        for name, block in self.coarse.items():
            x = block(taps[name])
            if x.shape[-2:] != half.shape[-2:]:
                x = F.interpolate(x, size=half.shape[-2:], mode='bilinear')
            coarse.append(x)
        context = self.context(torch.cat(coarse, dim=1))
        context = F.interpolate(context, size=mixed.shape[-2:], mode='bilinear')
        return self.head(torch.cat([mixed, context], dim=1))
