"""A tiny network that knows red, green and blue, and images it does and does not know.

Its weights are set by hand, so that every detector has an obvious case: yellow, cyan and magenta
things excite two classes at once and none of them fully.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline_training.data.frames import Frames
from offline_training.segmentation.backbones.dropblock import DropBlock2D
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize

HEIGHT, WIDTH, CLASSES = 32, 48, 3
PATCH = (slice(8, 24), slice(16, 40))
KNOWN = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220]])
UNKNOWN = np.array([[130, 130, 30], [30, 130, 130], [130, 30, 130]])


class ColourNetwork(nn.Module):
    """Logits (B, 4, H, W), the last of void, or (B, 4) with `classify`; two taps."""

    def __init__(self, classify: bool = False, dropout: bool = True):
        super().__init__()
        self.classify = classify
        self.early = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.late = nn.Conv2d(12, 12, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.2) if dropout else nn.Identity()
        self.dropout2d = nn.Dropout2d(0.05) if dropout else nn.Identity()
        self.drop_block = DropBlock2D(2, 0.1) if dropout else nn.Identity()
        self.head = nn.Conv2d(12, CLASSES + 1, 1)
        generator = torch.Generator().manual_seed(0)
        own = torch.eye(CLASSES).repeat_interleave(4, dim=0)
        with torch.no_grad():
            for conv, centre in ((self.early, own), (self.late, torch.eye(12))):
                conv.weight.copy_(0.03 * torch.randn(conv.weight.shape, generator=generator))
                conv.weight[:, :, 1, 1] += centre
                conv.bias.zero_()
            self.norm.running_mean.copy_(0.01 * torch.randn(12, generator=generator))
            self.head.weight.zero_()
            self.head.weight[:CLASSES, :, 0, 0] = 2.5 * (1.5 * own.T - 0.5)
            self.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 3.0]))

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        early = self.norm(self.early(x)).relu()
        late = self.late(early).relu()
        logits = self.head(self.drop_block(self.dropout2d(self.dropout(late))))
        if self.classify:
            logits = logits.mean(dim=(2, 3))
        else:
            logits = nn.functional.interpolate(logits, scale_factor=4.0, mode='bilinear')
        return logits, {'early': early, 'late': late}

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0]


def watched_network(classify: bool = False, dropout: bool = True) -> Watched:
    normalize = Normalize(InputConfig(mean=(0, 0, 0), std=(255, 255, 255)))
    return Watched(ColourNetwork(classify, dropout), normalize, CLASSES)


def scene(seed: int, unknown: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Three bands of known colours; with `unknown` a patch of an unknown one, label 255."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(CLASSES), WIDTH // CLASSES)[None].repeat(HEIGHT, axis=0)
    image = KNOWN[labels] * rng.uniform(0.85, 1.1)
    if unknown:
        labels[PATCH] = 255
        image[PATCH] = UNKNOWN[rng.integers(CLASSES)]
    image = image + rng.normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8), labels.astype(np.uint8)


def normal_frames(count: int = 8) -> Frames:
    images, labels = zip(*(scene(seed) for seed in range(count)), strict=True)
    return Frames(images, labels)


def some_images(unknown: bool, count: int = 3) -> Tensor:
    """Images uint8 (B, H, W, 3) that `normal_frames` does not hold."""
    return torch.from_numpy(np.stack([scene(100 + seed, unknown)[0] for seed in range(count)]))
