"""DeepLabV3+ (Chen, Zhu, Papandreou, Schroff, Adam, ECCV 2018) on a torchvision ResNet."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101

from offline_training.segmentation.backbones.base import Backbone
from offline_training.segmentation.backbones.dropblock import DropBlock2D

RATES = (6, 12, 18)
"""Dilations of the pyramid at output stride 16 (paper, section 4)."""


def conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, ReLU."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3, the image's mean; to 256."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            [conv(inputs, 256), *(conv(inputs, 256, 3, rate) for rate in RATES)]
        )
        self.pooled = conv(inputs, 256)
        self.project = conv(5 * 256, 256)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [branch(x) for branch in self.branches]
        mean = self.pooled(x.mean(dim=(2, 3), keepdim=True))
        parts.append(mean.expand(-1, -1, x.shape[-2], x.shape[-1]))
        return self.dropout(self.project(torch.cat(parts, dim=1)))


class DeepLabV3Plus(Backbone):
    """DeepLabV3+ with output stride 16, input (B, 3, H, W) of any size.

    `depth` chooses ResNet-50 or -101, untrained. `drop_block` adds DropBlock as LaREx does
    (Arnez et al. 2024): blocks of 12 behind layer4 and of 48 behind layer1, with probability 0.2,
    the same for all channels. It has no weights, so checkpoints fit with and without.

    Taps, before DropBlock: `layer1` (B, 256, H/4, W/4), `layer2` (B, 512, H/8, W/8), `layer3`
    (B, 1024, H/16, W/16), `layer4` (B, 2048, H/16, W/16), `aspp` (B, 256, H/16, W/16) and
    `decoder` (B, 256, H/4, W/4); all sizes rounded up.
    """

    def __init__(self, num_classes: int, depth: Literal[50, 101] = 50, drop_block: bool = False):
        super().__init__()
        build = {50: resnet50, 101: resnet101}[depth]
        self.resnet = build(weights=None, replace_stride_with_dilation=[False, False, True])
        del self.resnet.avgpool, self.resnet.fc
        self.drop_layer1 = DropBlock2D(48, 0.2, shared=True) if drop_block else nn.Identity()
        self.drop_layer4 = DropBlock2D(12, 0.2, shared=True) if drop_block else nn.Identity()
        self.low_level = conv(256, 48)
        self.aspp = ASPP(2048)
        self.decoder = nn.Sequential(conv(256 + 48, 256, 3), conv(256, 256, 3))
        self.classifier = nn.Conv2d(256, num_classes, 1)

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps by name."""
        resnet = self.resnet
        stem = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))
        layer1 = resnet.layer1(stem)
        layer2 = resnet.layer2(layer1)
        layer3 = resnet.layer3(layer2)
        layer4 = resnet.layer4(layer3)
        taps = {'layer1': layer1, 'layer2': layer2, 'layer3': layer3, 'layer4': layer4}
        logits, decoded = self.decode(
            self.drop_layer1(layer1), self.drop_layer4(layer4), (x.shape[-2], x.shape[-1])
        )
        return logits, taps | decoded

    def decode(
        self, layer1: Tensor, layer4: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the head alone: logits (B, C, *size) and the taps `aspp` and `decoder`.

        Monte-Carlo DropBlock calls it on masked maps, so that the ResNet runs once per image.
        """
        aspp = self.aspp(layer4)
        low = self.low_level(layer1)
        high = F.interpolate(aspp, size=low.shape[-2:], mode='bilinear')
        decoder = self.decoder(torch.cat([low, high], dim=1))
        logits = F.interpolate(self.classifier(decoder), size=size, mode='bilinear')
        return logits, {'aspp': aspp, 'decoder': decoder}
