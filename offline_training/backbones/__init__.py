"""Segmentation networks that can be watched: logits plus named taps, trained or imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from offline_training.backbones.base import Backbone
from offline_training.backbones.enet import ENet
from offline_training.backbones.espnet import DILATIONS, ESPNet
from offline_training.config import ConfigError

BACKBONES: dict[str, Callable[..., Backbone]] = {
    'espnet': ESPNet,
    # The small variant of the paper: two thirds of the time of q=8.
    'espnet_q3': partial(ESPNet, q=3),
    'enet': ENet,
    # The public 2018 checkpoints: overlapping pooling windows, cannot be exported.
    'enet_2018': partial(ENet, pooling=3),
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
