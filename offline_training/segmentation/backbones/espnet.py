"""ESPNet (Mehta, Rastegari, Caspi, Shapiro, Hajishirzi: "ESPNet", ECCV 2018) with p=2, q=8."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.segmentation.backbones.base import Backbone

DILATIONS = (1, 2, 4, 8, 16)
EPS = 1e-3


def norm_act(channels: int) -> nn.Sequential:
    """Batch normalisation and a per-channel PReLU."""
    return nn.Sequential(nn.BatchNorm2d(channels, eps=EPS), nn.PReLU(channels))


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Convolve without bias, padded to keep the size at stride 1."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


class ESP(nn.Module):
    """Efficient spatial pyramid: reduce, five dilated 3x3 branches, hierarchical sum, concatenate.

    The hierarchical sum over branches 2..5 removes the gridding artefacts of large dilations
    (paper, section 3.2). With `stride=2` the reduction is a strided 3x3 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, residual: bool = True):
        super().__init__()
        width = outputs // len(DILATIONS)
        first = outputs - width * (len(DILATIONS) - 1)
        self.residual = residual and stride == 1
        self.reduce = conv(inputs, width, 3 if stride == 2 else 1, stride)
        self.branches = nn.ModuleList(
            conv(width, first if dilation == 1 else width, 3, dilation=dilation)
            for dilation in DILATIONS
        )
        self.norm_act = norm_act(outputs)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        first, *rest = (branch(reduced) for branch in self.branches)
        parts = [first, rest[0]]
        for branch in rest[1:]:
            parts.append(parts[-1] + branch)
        y = torch.cat(parts, dim=1)
        return self.norm_act(y + x if self.residual else y)


def halve(x: Tensor) -> Tensor:
    """Average 3x3 pixels at every second one: (B, C, H, W) -> (B, C, H/2, W/2).

    A convolution with fixed weights: for a pooling, engines would change the layout of the three
    channels.
    """
    channels = x.shape[1]
    box = torch.eye(channels, dtype=x.dtype, device=x.device)[:, :, None, None] / 9
    return F.conv2d(x, box.expand(-1, -1, 3, 3), stride=2, padding=1)


class ESPNet(Backbone):
    """ESPNet segmentation network, input (B, 3, H, W) with H and W multiples of 8.

    The last decoder step joins the tensors of half size: with `decoder_skip='level1'` all 19
    channels, as in the public CamVid checkpoint, with 'stem' only the 16 learned ones, as in the
    public Cityscapes checkpoints.

    The taps are `level1` (B, 19, H/2, W/2), `level2` (B, 131, H/4, W/4), `level3` (B, 256, H/8,
    W/8) and `decoder` (B, num_classes, H/2, W/2).
    """

    def __init__(
        self,
        num_classes: int,
        p: int = 2,
        q: int = 8,
        decoder_skip: Literal['level1', 'stem'] = 'level1',
    ):
        super().__init__()
        self.decoder_skip = decoder_skip
        self.stem = nn.Sequential(conv(3, 16, 3, stride=2), norm_act(16))
        self.level1 = norm_act(19)
        self.down2 = ESP(19, 64, stride=2)
        self.esp2 = nn.Sequential(*(ESP(64, 64) for _ in range(p)))
        self.level2 = norm_act(131)
        self.down3 = ESP(131, 128, stride=2)
        self.esp3 = nn.Sequential(*(ESP(128, 128) for _ in range(q)))
        self.level3 = norm_act(256)
        self.classify3 = nn.Sequential(
            conv(256, num_classes, 1), nn.BatchNorm2d(num_classes, eps=EPS)
        )
        self.up3 = nn.ConvTranspose2d(num_classes, num_classes, 2, stride=2, bias=False)
        self.classify2 = conv(131, num_classes, 1)
        self.combine2 = nn.Sequential(
            norm_act(2 * num_classes), ESP(2 * num_classes, num_classes, residual=False)
        )
        self.up2 = nn.Sequential(
            nn.ConvTranspose2d(num_classes, num_classes, 2, stride=2, bias=False),
            norm_act(num_classes),
        )
        joined = num_classes + (19 if decoder_skip == 'level1' else 16)
        self.decoder = nn.Sequential(conv(joined, num_classes, 3), norm_act(num_classes))
        self.up1 = nn.ConvTranspose2d(num_classes, num_classes, 2, stride=2, bias=False)

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps by name."""
        half = halve(x)
        quarter = halve(half)
        stem = self.stem(x)
        level1 = self.level1(torch.cat([stem, half], dim=1))
        down2 = self.down2(level1)
        level2 = self.level2(torch.cat([self.esp2(down2), down2, quarter], dim=1))
        down3 = self.down3(level2)
        level3 = self.level3(torch.cat([down3, self.esp3(down3)], dim=1))
        coarse = self.up3(self.classify3(level3))
        middle = self.combine2(torch.cat([self.classify2(level2), coarse], dim=1))
        skip = level1 if self.decoder_skip == 'level1' else stem
        decoder = self.decoder(torch.cat([self.up2(middle), skip], dim=1))
        taps = {'level1': level1, 'level2': level2, 'level3': level3, 'decoder': decoder}
        return self.up1(decoder), taps
