"""The segmentation network and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from offline_training.learning.settings import between, check


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of a training image; 0 switches a photometric change off."""

    flip: bool = True
    gamma: float = 0.25
    """Largest absolute log of the gamma exponent."""
    brightness: float = 0.1
    contrast: float = 0.2
    saturation: float = 0.3
    color: float = 0.05
    """Largest relative gain of one colour channel."""

    def __post_init__(self) -> None:
        section = 'backbone.augmentation'
        between(section, self, 0, 1, 'gamma', 'brightness', 'contrast', 'saturation', 'color')


@dataclass(frozen=True)
class PhaseConfig:
    """A part of the training with its own crop size; `share` of the whole, batches of crops."""

    share: float = 1.0
    crop_width: int = 256
    crop_height: int = 192
    batch_size: int = 8
    min_scale: float = 0.75
    """Images appear scaled by a random factor from min_scale to max_scale."""
    max_scale: float = 1.5

    def __post_init__(self) -> None:
        section = 'backbone.phases'
        between(section, self, 0.1, 8, 'min_scale', 'max_scale')
        check(
            section,
            'max_scale',
            self.max_scale,
            self.max_scale >= self.min_scale,
            f'at least min_scale ({self.min_scale:g})',
        )
        check(section, 'share', self.share, 0 < self.share <= 1, 'above 0 and at most 1')
        for key in ('crop_width', 'crop_height'):
            value = getattr(self, key)
            check(
                section,
                key,
                value,
                32 <= value <= 4096 and value % 8 == 0,
                'a multiple of 8 between 32 and 4096',
            )
        between(section, self, 2, 1024, 'batch_size')


@dataclass(frozen=True)
class BackboneConfig:
    """The segmentation network and how it is trained."""

    architecture: Literal[
        'espnet',
        'espnet_q3',
        'espnet_stem',
        'espnet_q5_stem',
        'espnet_q3_stem',
        'espnet_dropout',
        'espnet_dropout_custom',
        'enet',
        'enet_2018',
        'segnet',
        'deeplabv3plus_resnet50',
        'deeplabv3plus_resnet101',
        'deeplabv3plus_resnet50_dropblock',
        'deeplabv3plus_resnet101_dropblock',
    ] = 'espnet'
    weights: str | None = None
    """A finished checkpoint: the stage then only imports it (--weights sets this)."""
    initial_weights: str | None = None
    """Where training starts: a checkpoint, or torchvision's VGG16 or ResNet for the encoder."""
    train_void: bool = False
    """Make void a class of its own, so that the network may say 'none of these'."""
    epochs: int = 30
    """Passes over the training set at most."""
    time_limit_minutes: float | None = None
    """Shorten the schedule to end by this time; None = run all epochs."""
    phases: tuple[PhaseConfig, ...] = (PhaseConfig(),)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    schedule: Literal['onecycle', 'poly'] = 'onecycle'
    warmup_share: float = 0.1
    class_weighting: Literal['enet', 'median', 'none'] = 'enet'
    enet_offset: float = 1.1
    """c of the ENet weights 1 / ln(c + p): 1.02 in ENet, 1.10 in ESPNet (milder)."""
    loss: Literal['cross_entropy', 'focal'] = 'cross_entropy'
    focal_gamma: float = 2.0
    """Exponent of the focal loss: how much less a pixel counts that is right already."""
    jaccard_weight: float = 0.0
    """Weight of a soft Jaccard loss beside it; it optimises IoU itself."""
    ema_decay: float = 0.0
    """Exponential moving average of the weights, used for validation; 0 = off."""
    compile: bool = False
    """torch.compile: a minute of start-up, then faster steps; needs a C++ compiler."""
    validate_every: int = 5
    """Epochs between validations; the best by val mIoU is kept."""
    seed: int = 1
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        between('backbone', self, 1, 100_000, 'epochs', 'validate_every')
        between('backbone', self, 0, 2**31 - 1, 'seed')
        between('backbone', self, 1e-7, 1, 'learning_rate')
        between('backbone', self, 0, 1, 'weight_decay', 'jaccard_weight')
        between('backbone', self, 0, 0.9, 'warmup_share')
        between('backbone', self, 0, 0.99999, 'ema_decay')
        between('backbone', self, 1.001, 10, 'enet_offset')
        between('backbone', self, 0, 10, 'focal_gamma')
        check(
            'backbone',
            'initial_weights',
            self.initial_weights,
            self.initial_weights is None or self.weights is None,
            'null where backbone.weights is set, which is not trained',
        )
        limit = self.time_limit_minutes
        check(
            'backbone', 'time_limit_minutes', limit, limit is None or limit > 0, 'null or above 0'
        )
        total = sum(phase.share for phase in self.phases)
        check(
            'backbone',
            'phases',
            [phase.share for phase in self.phases],
            abs(total - 1) < 1e-6,
            'a list whose shares add up to 1',
        )
