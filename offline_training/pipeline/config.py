"""One experiment as frozen, validated dataclasses; read by `offline_training.train`.

Every field is also a dotted option of the command line (`--backbone.epochs 20`) and a key of the
YAML files in config/training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from offline_training.calibration.config import CalibrationConfig
from offline_training.data.config import DataConfig
from offline_training.detectors.dense_flow.config import FlowConfig
from offline_training.detectors.observer.config import ObserverConfig
from offline_training.learning.settings import between, check
from offline_training.segmentation.config import BackboneConfig
from offline_training.watched.config import InputConfig


@dataclass(frozen=True)
class ExportConfig:
    """ONNX bundle and TensorRT engines."""

    atol: float = 1e-2
    """Absolute tolerance between engines on the fused logit map."""
    rtol: float = 1e-2
    tensorrt: Literal['auto', 'always', 'never'] = 'auto'
    """Build engines for TensorRT: where its library is installed, or fail, or skip."""

    def __post_init__(self) -> None:
        between('export', self, 0, 1, 'atol', 'rtol')


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
        between('', self, 0, 1024, 'threads')
        check(
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
