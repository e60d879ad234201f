"""Detectors that a training run has trained already: taken from there, not fitted again."""

from __future__ import annotations

import hashlib

from offline_training.detectors.base import Detector
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.error_fusion.error_fusion import ErrorFusion
from offline_training.detectors.fused.monitor import Monitor
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.context import Context
from offline_training.pipeline.stages import flow as flow_stage
from offline_training.pipeline.stages import observer as observer_stage
from offline_training.pipeline.stages.evaluate import read_fusion
from offline_training.watched.base import Watched


def take_from_run(name: str, detector: Detector, run: Context, watched: Watched) -> bool:
    """Fill a detector with what the run has trained; return whether it is one of its detectors.

    Raises:
        ConfigError: the row asks for other settings than the run was trained with.
        StorageError: the run is not finished.
    """
    if isinstance(detector, LightObserver):
        _take_observer(name, detector, run)
    elif isinstance(detector, DenseFlowDensity):
        _take_flow(name, detector, run)
    elif isinstance(detector, ErrorFusion):
        _take_observer(name, detector.observer, run)
        # The observer of the run has seen all of its training frames.
        detector.fit_regression(watched, run.val_data)
    elif isinstance(detector, Monitor):
        _take_observer(name, detector.observer, run)
        _take_flow(name, detector.flow, run)
        detector.set_fusion(read_fusion(run))
    else:
        return False
    return True


def run_digest(run: Context) -> str:
    """Return a hash of what `take_from_run` takes; a run of the backbone alone has none of it."""
    digest = hashlib.sha256()
    for name in ('flow.safetensors', 'observer.safetensors', 'calibration.json'):
        path = run.output_dir / name
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _take_observer(name: str, detector: LightObserver, run: Context) -> None:
    _require_same(name, detector.config, run.config.observer, run)
    detector.keep(observer_stage.restore(run, run.backbone()))


def _take_flow(name: str, detector: DenseFlowDensity, run: Context) -> None:
    _require_same(name, detector.config, run.config.flow, run)
    detector.keep(flow_stage.restore(run, run.backbone()))


def _require_same(name: str, wanted: object, trained: object, run: Context) -> None:
    if wanted != trained:
        raise ConfigError(
            f'detectors.{name} asks for {wanted}, but {run.output_dir} was trained with '
            f'{trained}; give the row those settings, or leave --run out'
        )
