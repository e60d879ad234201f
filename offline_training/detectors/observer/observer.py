"""Observer head: learns from attacks where the backbone fails (after ObsNet, Besnier et al. 2021).

ObsNet copies the whole network; this head reads the taps that the frozen backbone computes anyway,
which keeps the monitor at frame rate.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.learning.settings import ConfigError
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE


def local_contrast(x: Tensor) -> Tensor:
    """Standard deviation over 3x3 map pixels, per channel: (B, C, H/4, W/4) to the same shape.

    Of learned filters it is their local energy, hence texture: surfaces of unknown things differ
    there even when their mean colour is ordinary.
    """
    mean = F.avg_pool2d(x, 3, 1, 1)
    # Zero padding counts in both moments, so the result stays a variance at the border.
    variance = F.avg_pool2d(x * x, 3, 1, 1) - mean * mean
    return variance.clamp_min(1e-8).sqrt()


def block(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; without overlap where `stride` is not 1."""
    padding = dilation * (kernel - 1) // 2 if stride == 1 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def linear(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 convolution and batch normalisation, which folds into it."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class Observer(nn.Module):
    """Two logits per map pixel from the taps: channel 0 "unknown", channel 1 "mis-segmented".

    `taps` gives (channels, stride) of each tap by name. Input: mapping of taps (B, C_i, H/s_i,
    W/s_i); output (B, 2, H/4, W/4). Taps finer than the map enter through strided filters, the
    first of them also as local contrast of its filters; coarser ones give context.

    Raises:
        ConfigError: no tap is as fine as the map.
    """

    def __init__(self, taps: Mapping[str, tuple[int, int]], width: int = 32):
        super().__init__()
        self.strides = {name: stride for name, (_, stride) in taps.items()}
        # Half as wide as the context: these layers run on four times as many pixels.
        narrow = width // 2
        self.filters = nn.ModuleDict()
        self.fine = nn.ModuleDict()
        self.coarse = nn.ModuleDict()
        for name, (channels, stride) in taps.items():
            factor = MAP_STRIDE // stride
            if factor > 1 and not self.filters:
                self.filters[name] = nn.Conv2d(channels, narrow, factor, factor, bias=False)
            elif factor >= 1:
                self.fine[name] = block(channels, narrow, factor, factor)
            else:
                self.coarse[name] = block(channels, width)
        if not (self.filters or self.fine):
            raise ConfigError(
                f'observer.taps: {", ".join(taps)} are coarser than the map, of stride '
                f'{MAP_STRIDE}; add a finer one'
            )
        self.mix = block(narrow * (2 * len(self.filters) + len(self.fine)), width)
        self.context = nn.Sequential(
            block((1 + len(self.coarse)) * width, width),
            block(width, width, 3),
            block(width, width, 3, dilation=2),
            block(width, width, 3, dilation=4),
        )
        self.near = linear(width, width)
        self.far = linear(width, width)
        self.head = nn.Sequential(
            nn.ReLU(),
            block(width, width, 3, groups=width),
            nn.Conv2d(width, 2, 1),
        )

    def forward(self, taps: Mapping[str, Tensor]) -> Tensor:
        fine = []
        for name, filters in self.filters.items():
            filtered = filters(taps[name])
            fine += [filtered, local_contrast(filtered)]
        fine += [layer(taps[name]) for name, layer in self.fine.items()]
        mixed = self.mix(torch.cat(fine, dim=1))
        half = F.avg_pool2d(mixed, 2)
        coarse = [half]
        for name, layer in self.coarse.items():
            x = layer(taps[name])
            if x.shape[-2:] != half.shape[-2:]:
                x = F.interpolate(x, size=half.shape[-2:], mode='bilinear')
            coarse.append(x)
        # A 1x1 convolution commutes with interpolation and is a quarter of the work before it.
        far = self.far(self.context(torch.cat(coarse, dim=1)))
        far = F.interpolate(far, size=mixed.shape[-2:], mode='bilinear')
        return self.head(self.near(mixed) + far)
