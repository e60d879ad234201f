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


def local_contrast(x: Tensor) -> Tensor:
    """Absolute deviation from the smoothed neighbourhood, (B, C, H, W): texture, edges, noise."""
    # Pool first: a neighbourhood of 12 pixels at a sixteenth of the cost of a 12x12 window.
    mean = F.avg_pool2d(F.avg_pool2d(x, 4), 3, 1, 1, count_include_pad=False)
    return (x - F.interpolate(mean, size=x.shape[-2:], mode='bilinear')).abs()


class Block(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups=1):
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Observer(nn.Module):
    """Two logits per map pixel from the taps: channel 0 "unknown", channel 1 "mis-segmented".

    `taps` gives (channels, stride) of each tap by name. Input: mapping of taps (B, C_i, H/s_i,
    W/s_i); output (B, 2, H/4, W/4). Taps finer than the map enter twice, pooled and as pooled
    local contrast; coarser ones give context.
    """

    def __init__(self, taps: Mapping[str, tuple[int, int]], width: int = 64):
        super().__init__()
        self.fine = nn.ModuleDict()
        self.coarse = nn.ModuleDict()
        self.strides = {name: stride for name, (_, stride) in taps.items()}
        fine_width = 0
        for name, (channels, stride) in taps.items():
            if stride < MAP_STRIDE:
                self.fine[name] = Block(2 * channels, width // 2)
                fine_width += width // 2
            elif stride == MAP_STRIDE:
                self.fine[name] = Block(channels, width)
                fine_width += width
            else:
                self.coarse[name] = Block(channels, width)
        self.mix = Block(fine_width, width)
        self.context = nn.Sequential(
            Block((1 + len(self.coarse)) * width, width),
            Block(width, width, 3),
            Block(width, width, 3, dilation=2),
            Block(width, width, 3, dilation=4),
        )
        self.head = nn.Sequential(
            Block(2 * width, width),
            Block(width, width, 3, groups=width),
            Block(width, width),
            nn.Conv2d(width, 2, 1),
        )

    def forward(self, taps: Mapping[str, Tensor]) -> Tensor:
        fine = []
        for name, block in self.fine.items():
            x = taps[name]
            factor = MAP_STRIDE // self.strides[name]
            if factor > 1:
                x = F.avg_pool2d(torch.cat([x, local_contrast(x)], dim=1), factor)
            fine.append(block(x))
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
