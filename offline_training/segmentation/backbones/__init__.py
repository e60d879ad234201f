"""Segmentation networks that can be watched: logits plus named taps, trained or imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from offline_training.learning.settings import ConfigError
from offline_training.segmentation.backbones.base import Backbone
from offline_training.segmentation.backbones.enet import ENet
from offline_training.segmentation.backbones.esp_dropout import ESPDropoutNet
from offline_training.segmentation.backbones.espnet import DILATIONS, ESPNet
from offline_training.segmentation.backbones.segnet import SegNet


def _deeplabv3plus(num_classes: int, **kwargs: Any) -> Backbone:
    # Imported here: torchvision takes a second to import, and only this network needs it.
    from offline_training.segmentation.backbones.deeplabv3plus import DeepLabV3Plus

    return DeepLabV3Plus(num_classes, **kwargs)


BACKBONES: dict[str, Callable[..., Backbone]] = {
    'espnet': ESPNet,
    # The small variant of the paper: two thirds of the time of q=8.
    'espnet_q3': partial(ESPNet, q=3),
    # The layout of the public Cityscapes checkpoints, q = 8, 5 and 3.
    'espnet_stem': partial(ESPNet, decoder_skip='stem'),
    'espnet_q5_stem': partial(ESPNet, q=5, decoder_skip='stem'),
    'espnet_q3_stem': partial(ESPNet, q=3, decoder_skip='stem'),
    'espnet_dropout': partial(ESPDropoutNet, places='regular'),
    'espnet_dropout_custom': partial(ESPDropoutNet, places='custom'),
    'enet': ENet,
    # The public 2018 checkpoints: overlapping pooling windows, cannot be exported.
    'enet_2018': partial(ENet, pooling=3),
    'segnet': SegNet,
    'deeplabv3plus_resnet50': partial(_deeplabv3plus, depth=50),
    'deeplabv3plus_resnet101': partial(_deeplabv3plus, depth=101),
    'deeplabv3plus_resnet50_dropblock': partial(_deeplabv3plus, depth=50, drop_block=True),
    'deeplabv3plus_resnet101_dropblock': partial(_deeplabv3plus, depth=101, drop_block=True),
}


def build_backbone(architecture: str, num_classes: int, **kwargs: Any) -> Backbone:
    """Return an untrained network with `num_classes` output channels.

    Raises:
        ConfigError: the architecture is not known or cannot have so few outputs.
    """
    if architecture not in BACKBONES:
        raise ConfigError(
            f'backbone.architecture {architecture!r} is not one of '
            f'{", ".join(sorted(BACKBONES))}; correct it'
        )
    if architecture.startswith('espnet') and num_classes < len(DILATIONS):
        # Its last ESP block splits the output channels over the dilated branches.
        raise ConfigError(
            f'backbone.architecture {architecture} needs at least {len(DILATIONS)} outputs but '
            f'the data has {num_classes}; use enet'
        )
    return BACKBONES[architecture](num_classes=num_classes, **kwargs)


def without_weights(architecture: str, num_classes: int = 20) -> Backbone:
    """Return a network on torch's meta device, in evaluation mode: shapes that cost nothing.

    Raises:
        ConfigError: as `build_backbone`.
    """
    with torch.device('meta'):
        return build_backbone(architecture, num_classes).eval().requires_grad_(False)
