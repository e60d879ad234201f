"""The segmentation network and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offline_training.learning.settings import check, setting, settings


@dataclass(frozen=True)
@settings('backbone.augmentation')
class AugmentationConfig:
    """Random changes of a training image; 0 switches a photometric change off."""

    flip: bool = setting(True, 'Mirror half of the images, drawn at random.')
    gamma: float = setting(0.25, 'Largest absolute log of the gamma exponent.', low=0, high=1)
    brightness: float = setting(
        0.1, 'Largest change of brightness, as a share of the pixel range.', low=0, high=1
    )
    contrast: float = setting(0.2, 'Largest relative change of contrast.', low=0, high=1)
    saturation: float = setting(0.3, 'Largest relative change of saturation.', low=0, high=1)
    color: float = setting(0.05, 'Largest relative gain of one colour channel.', low=0, high=1)


@dataclass(frozen=True)
@settings('backbone.phases')
class PhaseConfig:
    """A part of the training with its own crop size; `share` of the whole, batches of crops."""

    share: float = setting(1.0, 'Share of the training; all add up to 1.', above=0, high=1)
    crop_width: int = setting(
        256,
        'Width of the crops in pixels.',
        low=32,
        high=4096,
        multiple=8,
        derived='input.width, if the longer side is at most 512, else in proportion',
    )
    crop_height: int = setting(
        192,
        'Height of the crops in pixels.',
        low=32,
        high=4096,
        multiple=8,
        derived='as crop_width',
    )
    batch_size: int = setting(8, 'Crops per step.', low=2, high=1024)
    min_scale: float = setting(
        0.75,
        'Images appear scaled by a random factor from min_scale to max_scale.',
        low=0.1,
        high=8,
    )
    max_scale: float = setting(1.5, 'See min_scale; not below it.', low=0.1, high=8)

    def __post_init__(self) -> None:
        check(
            'backbone.phases',
            'max_scale',
            self.max_scale,
            self.max_scale >= self.min_scale,
            f'at least min_scale ({self.min_scale:g})',
        )


@dataclass(frozen=True)
@settings('backbone')
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
    ] = setting('espnet', 'The network; those in _stem and enet_2018 fit public checkpoints.')
    weights: str | None = setting(
        None,
        'A finished checkpoint: the stage then only imports it; --weights sets this.',
        null='train it',
    )
    initial_weights: str | None = setting(
        None,
        "Where training starts: a checkpoint, or torchvision's VGG16 or ResNet for the encoder.",
        null='random weights',
    )
    train_void: bool = setting(
        False, "Make void a class of its own, so that the network may say 'none of these'."
    )
    epochs: int = setting(
        30,
        'Passes over the training set at most.',
        low=1,
        high=100_000,
        derived='30 of synthetic scenes, else enough for 20000 steps, but 30 to 400',
    )
    time_limit_minutes: float | None = setting(
        None,
        'Shorten the schedule to end by this time.',
        above=0,
        high=100_000,
        null='run all epochs',
    )
    phases: tuple[PhaseConfig, ...] = setting(
        (PhaseConfig(),), 'Parts of the training, one after the other.'
    )
    learning_rate: float = setting(2e-3, 'Highest step size of AdamW.', low=1e-7, high=1)
    weight_decay: float = setting(1e-2, 'Pull of the weights towards 0.', low=0, high=1)
    schedule: Literal['onecycle', 'poly'] = setting(
        'onecycle', 'How the learning rate falls after warm-up: by a cosine or a power.'
    )
    warmup_share: float = setting(
        0.1, 'Share of the training in which the learning rate rises.', low=0, high=0.9
    )
    class_weighting: Literal['enet', 'median', 'none'] = setting(
        'enet', 'How rare classes count more: 1 / ln(c + p), median frequency, or not at all.'
    )
    enet_offset: float = setting(
        1.1,
        'c of the ENet weights 1 / ln(c + p): 1.02 in ENet, 1.10 in ESPNet (milder).',
        low=1.001,
        high=10,
    )
    loss: Literal['cross_entropy', 'focal'] = setting('cross_entropy', 'Loss per pixel.')
    focal_gamma: float = setting(
        2.0,
        'Exponent of the focal loss: how much less a pixel counts that is right already.',
        low=0,
        high=10,
    )
    jaccard_weight: float = setting(
        0.0, 'Weight of a soft Jaccard loss beside it; it optimises IoU itself.', low=0, high=1
    )
    ema_decay: float = setting(
        0.0,
        'Exponential moving average of the weights, used for validation; 0 = off.',
        low=0,
        high=0.99999,
    )
    compile: bool = setting(
        False, 'torch.compile: a minute of start-up, then faster steps; needs a C++ compiler.'
    )
    validate_every: int = setting(
        5, 'Epochs between validations; the best by val mIoU is kept.', low=1, high=100_000
    )
    seed: int = setting(1, 'Seed of weights, order and augmentation.', low=0, high=2**31 - 1)
    augmentation: AugmentationConfig = setting(AugmentationConfig(), 'Random changes.')

    def __post_init__(self) -> None:
        check(
            'backbone',
            'initial_weights',
            self.initial_weights,
            self.initial_weights is None or self.weights is None,
            'null where backbone.weights is set, which is not trained',
        )
        shares = [phase.share for phase in self.phases]
        check(
            'backbone',
            'phases',
            shares,
            abs(sum(shares) - 1) < 1e-6,
            'a list whose shares add up to 1',
        )
