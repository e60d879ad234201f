"""Channels that a configuration adds: any exportable detector, with its own score and alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from offline_training.data.frames import Frames
from offline_training.detectors import DETECTORS
from offline_training.detectors.one_pass import OnePassDetector, at_size
from offline_training.learning.read_settings import suggestion
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import read_json
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import Context
from offline_training.watched.base import Seen, Watched
from ros2_ood_monitor.bundle.manifest import (
    DEFAULT_CHANNEL,
    MAP_STRIDE,
    Certificate,
    Channel,
    FrameScore,
    FusedMap,
    Fusion,
    Statistic,
)
from ros2_ood_monitor.frame import Float32Array
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits

OWN_CHANNELS = (DEFAULT_CHANNEL, 'density', 'unknown', 'image')
"""Names of the channels that a bundle has of itself."""
SCALE_FRAMES = 16
SCORE = 'score'
"""The statistic of a channel whose detector scores whole frames."""


def build_added(config: Config) -> dict[str, OnePassDetector]:
    """Return the detectors that `channels` names, not fitted.

    Raises:
        ConfigError: one is unknown, cannot be exported, or its settings do not fit.
    """
    found = {}
    for name, settings in config.channels.items():
        if name not in DETECTORS:
            raise ConfigError(
                f'channels names {name!r}, which is no detector; '
                f'{suggestion(name, list(DETECTORS), "take some of")}'
            )
        if name in OWN_CHANNELS or name in ('monitor', 'image_channel'):
            raise ConfigError(f'channels names {name!r}, which every bundle has; leave it out')
        try:
            detector = DETECTORS[name](**settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f'channels.{name}: {error}') from error
        if not isinstance(detector, OnePassDetector) or not detector.exportable:
            raise ConfigError(
                f'channels names {name!r}, which cannot run on a robot; leave it out'
            )
        found[name] = detector
    return found


def added_file(context: Context, name: str) -> Path:
    """Return where the fitted detector of an added channel is stored."""
    return context.output_dir / 'channels' / f'{name}.safetensors'


@dataclass(frozen=True)
class Added:
    """A fitted detector and its channel, with all but what normal sequences say."""

    detector: OnePassDetector
    channel: Channel

    def statistics(
        self, name: str, watched: Watched, seen: Seen
    ) -> tuple[str, NDArray[np.float64]]:
        """Return the name of its statistic in a bundle and the values (B,)."""
        fusion, score = self.channel.fusion, self.channel.frame_score
        if fusion is None or score is None:
            values = self.detector.frame_of(watched, seen).double().cpu().numpy()
            return f'{name}.{SCORE}', values
        maps = map_of(self.detector, watched, seen)
        found = [
            frame_statistic(fused_logits({name: own}, fusion), score.top_fraction) for own in maps
        ]
        return name, np.array(found)


def load_added(context: Context) -> dict[str, Added]:
    """Return the added channels of a run by name; StorageError if one has not been fitted."""
    scales = read_json(context.output_dir / 'channels.json')['channels']
    found = {}
    for name, built in build_added(context.config).items():
        detector = type(built).load(added_file(context, name)).to(context.device)
        top_fraction = context.config.calibration.top_fraction
        found[name] = Added(detector, _channel(name, detector, top_fraction, scales[name]))
    return found


def map_of(detector: OnePassDetector, watched: Watched, seen: Seen) -> Float32Array:
    """Return the maps (B, H/4, W/4) as the exported network gives them."""
    rows, columns = (side // MAP_STRIDE for side in seen['image'].shape[1:3])
    maps = at_size(detector.map_of(watched, seen), rows, columns)
    return np.asarray(maps.float().cpu().numpy(), np.float32)


def map_scale(detector: OnePassDetector, watched: Watched, frames: Frames) -> dict[str, float]:
    """Return mean and deviation of a detector's map on some normal frames."""
    chosen = np.linspace(0, len(frames) - 1, min(SCALE_FRAMES, len(frames))).round()
    pixels = torch.from_numpy(np.stack([frames[int(index)][0] for index in chosen]))
    with torch.no_grad():
        maps = [
            map_of(detector, watched, detector.look(watched, one[None].to(watched.device)))
            for one in pixels
        ]
    return {'mean': float(np.mean(maps)), 'std': max(float(np.std(maps)), 1e-6)}


def _channel(
    name: str, detector: OnePassDetector, top_fraction: float, scale: Mapping[str, float]
) -> Channel:
    """Return the channel of a detector: of its frame score, or of the top of its map."""
    none = Certificate(0.0, None, 1.0, None, None)
    if detector.has_frame_score:
        score = Statistic(SCORE, f'{name}_frame', 0, 1.0, ())
        return Channel(None, None, None, (), none, (score,))
    fusion = Fusion((FusedMap(name, name, 0, scale['mean'], scale['std'], 1.0),), 0.0)
    return Channel(fusion, None, FrameScore(top_fraction, ()), (), none)
