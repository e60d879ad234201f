"""Every detector of the registry, fitted once on the tiny network that knows three colours."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from offline_training.detectors import DETECTORS
from offline_training.detectors.base import Detector
from support.colour_network import normal_frames, watched_network

SETTINGS: dict[str, dict[str, Any]] = {
    'standardized_max_logit': {'boundary_width': 2, 'dilation': 1},
    'mc_dropout': {'passes': 4},
    'mc_dropblock': {'passes': 4},
    'mc_augmentation': {'passes': 4},
    'weight_noise': {'passes': 4},
    'larem': {'block_size': 2},
    'lared': {'block_size': 2},
    'residual_flow': {'hidden': 8, 'couplings': 2, 'steps': 10},
    'obsnet': {
        'epochs': 10,
        'crop': 1.0,
        'zoom': 1.0,
        'paste': 1.0,
        'learning_rate': 1e-2,
    },
    'light_observer': {
        'epochs': 40,
        'width': 16,
        'batch_size': 4,
        'max_objects': 2,
        'learning_rate': 1e-2,
        'attack_share': 0.0,
    },
    'dense_flow': {'channels': 12, 'hidden': 8, 'layers': 2, 'epochs': 3},
    'monitor': {
        'observer': {
            'epochs': 40,
            'width': 16,
            'batch_size': 4,
            'max_objects': 2,
            'learning_rate': 1e-2,
            'attack_share': 0.0,
        },
        'flow': {'channels': 12, 'hidden': 8, 'layers': 2, 'epochs': 3},
    },
    'error_fusion': {
        'observer': {
            'epochs': 40,
            'width': 16,
            'batch_size': 4,
            'max_objects': 2,
            'learning_rate': 1e-2,
            'attack_share': 0.0,
        },
    },
    'daain': {'points': 64, 'blocks': 2, 'epochs': 2},
}
"""Settings that make a detector small enough for 32x48 images; the default where absent."""

WATCHED = watched_network()
FRAMES = normal_frames()


def build(name: str) -> Detector:
    return DETECTORS[name](**SETTINGS.get(name, {}))


@cache
def fitted(name: str) -> Detector:
    torch.manual_seed(1)
    return build(name).fit(WATCHED, FRAMES).eval()
