"""Detectors that a training run has fitted, each a file of its folder."""

from __future__ import annotations

from typing import TypeVar

from offline_training.detectors.base import Detector
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.fused.monitor import Monitor
from offline_training.detectors.image_channel.image_channel import ImageChannel
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.pipeline.context import Context

FILES: dict[type[Detector], str] = {
    DenseFlowDensity: 'flow.safetensors',
    ImageChannel: 'image.safetensors',
    LightObserver: 'observer.safetensors',
    Monitor: 'monitor.safetensors',
}

Fitted = TypeVar('Fitted', bound=Detector)


def load_fitted(kind: type[Fitted], run: Context) -> Fitted:
    """Return the detector of this class that the run has fitted, on its device.

    Raises:
        StorageError: its stage has not run, or the file is of an older version.
    """
    return kind.load(run.output_dir / FILES[kind]).to(run.device)
