"""One experiment as frozen, validated dataclasses; read by `offline_training.train`.

Every field is also a dotted option of the command line (`--backbone.epochs 20`) and a key of the
YAML files in config/training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal


class ConfigError(ValueError):
    """A configuration value is unknown or out of range; the sentence names key, value, range."""


def _check(section: str, key: str, value: Any, ok: bool, allowed: str) -> None:
    if not ok:
        name = f'{section}.{key}' if section else key
        raise ConfigError(
            f'{name} is {value!r} but must be {allowed}; correct it in the '
            'configuration or on the command line'
        )


def _between(section: str, config: Any, low: float, high: float, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        _check(section, key, value, low <= value <= high, f'between {low:g} and {high:g}')


@dataclass(frozen=True)
class DataConfig:
    """Which labelled pictures to train on."""

    dataset: Literal[
        'synthetic',
        'camvid',
        'camvid_ood',
        'cityscapes',
        'bdd100k',
        'bdd_anomaly',
        'street_hazards',
        'woodscape',
        'woodscape_soiling',
        'folder',
    ] = 'synthetic'
    """Synthetic scenes, a public set or your own folder; all but synthetic need data_dir."""
    data_dir: str | None = None
    """Folder of the data set; --data-dir sets it."""
    train_samples: int = 400
    """Number of synthetic training pictures; ignored for the other data sets."""
    val_samples: int = 60
    """Number of synthetic validation and test pictures; ignored for the other data sets."""

    def __post_init__(self) -> None:
        _between('data', self, 1, 1_000_000, 'train_samples', 'val_samples')


@dataclass(frozen=True)
class InputConfig:
    """What the network sees: size, colour order and normalisation (x - mean) / std, x in 0..255.

    `mean` and `std` are in `color_order`.
    """

    width: int = 256
    height: int = 192
    color_order: Literal['rgb', 'bgr'] = 'rgb'
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        for key in ('width', 'height'):
            value = getattr(self, key)
            _check(
                'input',
                key,
                value,
                32 <= value <= 4096 and value % 8 == 0,
                'a multiple of 8 between 32 and 4096',
            )
        for value in self.std:
            _check('input', 'std', list(self.std), value > 0, 'three numbers above 0')


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of a training picture; 0 switches a photometric change off."""

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
        _between(section, self, 0, 1, 'gamma', 'brightness', 'contrast', 'saturation', 'color')


@dataclass(frozen=True)
class PhaseConfig:
    """A part of the training with its own crop size; `share` of the whole, batches of crops."""

    share: float = 1.0
    crop_width: int = 256
    crop_height: int = 192
    batch_size: int = 8
    min_scale: float = 0.75
    """Pictures appear scaled by a random factor from min_scale to max_scale."""
    max_scale: float = 1.5

    def __post_init__(self) -> None:
        section = 'backbone.phases'
        _between(section, self, 0.1, 8, 'min_scale', 'max_scale')
        _check(
            section,
            'max_scale',
            self.max_scale,
            self.max_scale >= self.min_scale,
            f'at least min_scale ({self.min_scale:g})',
        )
        _check(section, 'share', self.share, 0 < self.share <= 1, 'above 0 and at most 1')
        for key in ('crop_width', 'crop_height'):
            value = getattr(self, key)
            _check(
                section,
                key,
                value,
                32 <= value <= 4096 and value % 8 == 0,
                'a multiple of 8 between 32 and 4096',
            )
        _between(section, self, 2, 1024, 'batch_size')


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
        _between('backbone', self, 1, 100_000, 'epochs', 'validate_every')
        _between('backbone', self, 0, 2**31 - 1, 'seed')
        _between('backbone', self, 1e-7, 1, 'learning_rate')
        _between('backbone', self, 0, 1, 'weight_decay', 'jaccard_weight')
        _between('backbone', self, 0, 0.9, 'warmup_share')
        _between('backbone', self, 0, 0.99999, 'ema_decay')
        _between('backbone', self, 1.001, 10, 'enet_offset')
        _between('backbone', self, 0, 10, 'focal_gamma')
        _check(
            'backbone',
            'initial_weights',
            self.initial_weights,
            self.initial_weights is None or self.weights is None,
            'null where backbone.weights is set, which is not trained',
        )
        limit = self.time_limit_minutes
        _check(
            'backbone', 'time_limit_minutes', limit, limit is None or limit > 0, 'null or above 0'
        )
        total = sum(phase.share for phase in self.phases)
        _check(
            'backbone',
            'phases',
            [phase.share for phase in self.phases],
            abs(total - 1) < 1e-6,
            'a list whose shares add up to 1',
        )


@dataclass(frozen=True)
class FlowConfig:
    """Normalising flow on whitened backbone taps."""

    taps: tuple[str, ...] = ()
    """Names of the backbone taps; empty = those at a quarter of the input size and coarser."""
    channels: int = 48
    """Dimensions kept after whitening."""
    layers: int = 4
    hidden: int = 64
    epochs: int = 12
    batch_size: int = 4096
    """Pixels, not pictures."""
    learning_rate: float = 2e-3
    seed: int = 1

    def __post_init__(self) -> None:
        _between('flow', self, 1, 100_000, 'channels', 'layers', 'hidden', 'epochs', 'batch_size')
        _between('flow', self, 1e-7, 1, 'learning_rate')
        _between('flow', self, 0, 2**31 - 1, 'seed')


@dataclass(frozen=True)
class ObserverConfig:
    """Observer head, trained on local adversarial attacks and pasted textures."""

    taps: tuple[str, ...] = ()
    """Names of the backbone taps; empty = all."""
    width: int = 32
    epochs: int = 8
    batch_size: int = 6
    learning_rate: float = 3e-3
    attack_share: float = 0.15
    """Share of batches with a local adversarial attack on the backbone."""
    epsilon: float = 0.007
    """Size of the attack's step, in 0..1 of the pixel range (ObsNet: 0.025 deviations)."""
    max_objects: int = 4
    """Most unknown objects pasted into one picture."""
    seed: int = 1

    def __post_init__(self) -> None:
        _between('observer', self, 1, 100_000, 'epochs', 'batch_size')
        _between('observer', self, 8, 512, 'width')
        _between('observer', self, 1, 20, 'max_objects')
        _between('observer', self, 1e-7, 1, 'learning_rate')
        _between('observer', self, 0, 1, 'epsilon', 'attack_share')
        _between('observer', self, 0, 2**31 - 1, 'seed')


@dataclass(frozen=True)
class CalibrationConfig:
    """Fusion, regions, conformal frame score and alarm rule."""

    region_threshold: float = 0.5
    min_area: int = 48
    """Smallest region in pixels of the map at a quarter of the input size."""
    top_fraction: float = 0.003
    budget_per_hour: float = 1.0
    """False alarms per hour that the alarm threshold is computed for."""
    frame_rate: float = 15.0
    """Frames per second of the calibration drive and of the camera."""
    drift: float | None = None
    """Evidence lost per frame; null = what makes the alarm fastest for the same false alarms."""
    block_seconds: float = 6.0
    """Length of the blocks whose largest evidence sets the alarm threshold."""
    clips: int = 20
    """Synthetic drives for calibration; a real validation split is one drive per sequence."""
    seed: int = 1

    def __post_init__(self) -> None:
        _between('calibration', self, 0.001, 0.999, 'region_threshold')
        _between('calibration', self, 1, 10_000_000, 'min_area')
        _between('calibration', self, 1e-5, 1, 'top_fraction')
        _between('calibration', self, 1e-4, 3600, 'budget_per_hour')
        _between('calibration', self, 0.1, 1000, 'frame_rate', 'block_seconds')
        _check(
            'calibration',
            'drift',
            self.drift,
            self.drift is None or 0.01 <= self.drift <= 10,
            'null or between 0.01 and 10',
        )
        _between('calibration', self, 2, 10_000, 'clips')
        _between('calibration', self, 0, 2**31 - 1, 'seed')


@dataclass(frozen=True)
class ExportConfig:
    """ONNX bundle and TensorRT engines."""

    atol: float = 1e-2
    """Absolute tolerance between engines on the fused logit map."""
    rtol: float = 1e-2
    tensorrt: Literal['auto', 'always', 'never'] = 'auto'
    """Build engines for TensorRT: where its library is installed, or fail, or skip."""

    def __post_init__(self) -> None:
        _between('export', self, 0, 1, 'atol', 'rtol')


@dataclass(frozen=True)
class Config:
    """A whole experiment."""

    name: str = 'synthetic'
    """Name of the bundle."""
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    threads: int = 0
    """CPU threads of torch; 0 = torch's choice."""
    data: DataConfig = field(default_factory=DataConfig)
    input: InputConfig = field(default_factory=InputConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    observer: ObserverConfig = field(default_factory=ObserverConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        _between('', self, 0, 1024, 'threads')
        _check(
            '',
            'name',
            self.name,
            bool(self.name) and '/' not in self.name,
            'a file name without "/"',
        )


SYNTHETIC = Config(
    data=DataConfig(train_samples=600),
    backbone=BackboneConfig(
        architecture='espnet_q3',
        epochs=8,
        time_limit_minutes=2.0,
        learning_rate=3e-3,
        ema_decay=0.98,
        validate_every=4,
    ),
    flow=FlowConfig(taps=('level3',), channels=32, layers=3, hidden=48, epochs=3),
    observer=ObserverConfig(epochs=8, attack_share=0.05, max_objects=8),
    calibration=CalibrationConfig(top_fraction=0.04),
)
"""The experiment without a configuration file; equal to config/training/synthetic.yaml."""


def to_dict(config: Any) -> Any:
    """Turn a configuration into plain YAML and JSON values, tuples as lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return [to_dict(item) for item in config] if isinstance(config, tuple) else config
