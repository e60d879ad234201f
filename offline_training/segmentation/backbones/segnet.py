"""SegNet (Badrinarayanan, Kendall, Cipolla: "SegNet", TPAMI 2017) on a VGG16 encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from offline_training.segmentation.backbones.base import Backbone
from offline_training.segmentation.backbones.unpooling import phase_unpool

ENCODER = {
    'down1': (3, 64, 64),
    'down2': (64, 128, 128),
    'down3': (128, 256, 256, 256),
    'down4': (256, 512, 512, 512),
    'down5': (512, 512, 512, 512),
}
"""Channels through the 3x3 convolutions of each block (VGG16)."""
DECODER = {
    'up5': (512, 512, 512, 512),
    'up4': (512, 512, 512, 256),
    'up3': (256, 256, 256, 128),
    'up2': (128, 128, 64),
    'up1': (64, 64),
}
DROPOUT = {'down3': 0.5, 'down4': 0.5, 'down5': 0.5, 'up5': 0.5, 'up4': 0.4, 'up3': 0.3}
"""Dropout behind the blocks, as in ObsNet's target network (Besnier et al. 2021)."""


def conv_block(channels: Sequence[int]) -> nn.Sequential:
    """3x3 convolutions with bias, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class SegNet(Backbone):
    """SegNet, input (B, 3, H, W) of any size from 32; 29.4 M parameters.

    Training pools with indices; evaluation unpools by the equal index-free form, so that it can be
    exported. Odd sizes are pooled as torch does, without their last row or column, which unpooling
    fills with zeros: 480x360 is exact, with 22 rows at a sixteenth and 11 at a thirty-second.

    The last layer is a plain convolution. ObsNet's network has batch normalisation and ReLU behind
    it, which makes every negative logit zero and with it the scores that read logits.

    Taps are the outputs of the ten blocks: `down1` (B, 64, H/2, W/2), `down2` (B, 128, H/4, W/4),
    `down3` (B, 256, H/8, W/8), `down4` (B, 512, H/16, W/16), `down5` (B, 512, H/32, W/32), `up5`
    (B, 512, H/16, W/16), `up4` (B, 256, H/8, W/8), `up3` (B, 128, H/4, W/4), `up2`
    (B, 64, H/2, W/2) and `up1`, the logits; all sizes rounded down.
    """

    def __init__(self, num_classes: int, dropout: Mapping[str, float] = DROPOUT):
        super().__init__()
        self.encoder = nn.ModuleDict({k: conv_block(v) for k, v in ENCODER.items()})
        decoder = {k: conv_block(v) for k, v in DECODER.items()}
        decoder['up1'].append(nn.Conv2d(64, num_classes, 3, padding=1))
        self.decoder = nn.ModuleDict(decoder)
        self.dropout = nn.ModuleDict({k: nn.Dropout(v) for k, v in dropout.items()})

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps by name."""
        taps: dict[str, Tensor] = {}
        pooled: list[tuple[Tensor, Tensor | None]] = []
        for name, block in self.encoder.items():
            full = block(x)
            indices: Tensor | None = None
            if self.training:
                x, indices = F.max_pool2d(full, 2, return_indices=True)
            else:
                x = F.max_pool2d(full, 2)
            pooled.append((full, indices))
            taps[name] = x
            x = self._drop(name, x)
        for name, block in self.decoder.items():
            full, indices = pooled.pop()
            if indices is None:
                x = phase_unpool(x, full)
            else:
                x = F.max_unpool2d(x, indices, [2, 2], output_size=full.shape[-2:])
            taps[name] = x = block(x)
            x = self._drop(name, x)
        return x, taps

    def _drop(self, name: str, x: Tensor) -> Tensor:
        return self.dropout[name](x) if name in self.dropout else x
