"""One experiment as frozen, validated dataclasses; read by `offline_training.train`.

Every field is also a dotted option of the command line (`--backbone.epochs 20`) and a key of the
YAML files in config/training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from offline_training.calibration.config import CalibrationConfig
from offline_training.data.config import DataConfig
from offline_training.detectors.dense_flow.flow_training import FlowConfig
from offline_training.detectors.image_channel.image_channel import ImageConfig
from offline_training.detectors.observer.observer_training import ObserverConfig
from offline_training.learning.settings import check, setting, settings
from offline_training.segmentation.config import BackboneConfig
from offline_training.watched.normalization import InputConfig


@dataclass(frozen=True)
@settings('export')
class ExportConfig:
    """ONNX bundle and TensorRT engines."""

    atol: float = setting(
        1e-2, 'Absolute tolerance between engines on the fused logit map.', low=0, high=1
    )
    rtol: float = setting(1e-2, 'Relative tolerance, likewise.', low=0, high=1)
    tensorrt: Literal['auto', 'always', 'never'] = setting(
        'auto',
        'Build engines for TensorRT: where a GPU is ready, or on any machine with its library '
        '(they fit no other kind of GPU), or not at all.',
    )
    examined_views: int = setting(
        12,
        'Views of each kind on which the exported bundle is tried, for its table of what it '
        'cannot see; 0 = no table.',
        low=0,
        high=10_000,
    )


@dataclass(frozen=True)
@settings()
class Config:
    """A whole experiment; the sections follow in the order in which they are used."""

    name: str = setting(
        'synthetic',
        'Name of the bundle and of its folder in runs/.',
        derived='the data set, or the name of your own folder',
    )
    device: Literal['auto', 'cpu', 'cuda'] = setting('auto', 'Where to train.')
    threads: int = setting(
        0, 'CPU threads of torch; 0 = one per core that is idle at the start.', low=0, high=1024
    )
    workers: int | None = setting(
        None,
        'Processes that prepare batches; 0 = none, null = chosen by the machine.',
        low=0,
        high=256,
    )
    data: DataConfig = setting(DataConfig(), 'Which images.')
    input: InputConfig = setting(InputConfig(), 'What the network sees.')
    backbone: BackboneConfig = setting(BackboneConfig(), 'The network.')
    flow: FlowConfig = setting(FlowConfig(), 'The flow.')
    observer: ObserverConfig = setting(ObserverConfig(), 'The observer.')
    image: ImageConfig = setting(ImageConfig(), 'The image channel.')
    channels: dict[str, dict[str, Any]] = setting(
        {},
        'Detectors that become channels of their own, by name with their settings, for example '
        '{residual_flow: {}}.',
    )
    calibration: CalibrationConfig = setting(CalibrationConfig(), 'Calibration.')
    export: ExportConfig = setting(ExportConfig(), 'The bundle.')

    def __post_init__(self) -> None:
        check(
            '',
            'name',
            self.name,
            bool(self.name) and '/' not in self.name,
            'a file name without "/"',
        )


SYNTHETIC: dict[str, Any] = {
    'name': 'synthetic',
    'data': {'dataset': 'synthetic', 'train_samples': 600},
    'backbone': {
        'architecture': 'espnet_q3',
        'epochs': 8,
        'time_limit_minutes': 2.0,
        'learning_rate': 3e-3,
        'ema_decay': 0.98,
        'validate_every': 4,
    },
    'flow': {'channels': 32, 'layers': 3, 'hidden': 48, 'epochs': 3},
    'observer': {'epochs': 8, 'attack_share': 0.05, 'max_objects': 8},
    'calibration': {'top_fraction': 0.04},
}
"""The experiment without a configuration file; equal to config/training/synthetic.yaml."""
