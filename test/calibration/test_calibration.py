"""Fusion weights, and the normal sequences that the rest is calibrated on."""

from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from offline_training.calibration.fusion import CalibrationError, fit_fusion
from offline_training.data.base import SegmentationSample
from offline_training.data.config import DataConfig
from offline_training.data.frames import Frames
from offline_training.pipeline.config import Config
from offline_training.pipeline.normal_sequences import _sequences
from ros2_ood_monitor.inference.fusion import fused_logits


def test_fusion_prefers_the_informative_map_and_never_argues_an_anomaly_away():
    rng = np.random.default_rng(0)
    unknown = (rng.random(4000) < 0.2).astype(float)
    good = rng.normal(size=4000) + 4 * unknown
    misleading = rng.normal(size=4000) - 2 * unknown
    values = {'good': good, 'misleading': misleading, 'noise': rng.normal(size=4000)}
    normal = {name: value[unknown == 0] for name, value in values.items()}
    fusion = fit_fusion({name: (name, 0) for name in values}, normal, values, unknown)
    weights = {each.name: each.weight for each in fusion.maps}
    assert min(weights.values()) >= 0
    assert weights['good'] > 1
    assert weights['misleading'] == 0
    maps = {name: value.astype(np.float32).reshape(40, 100) for name, value in values.items()}
    calibrated = 1 / (1 + np.exp(-fused_logits(maps, fusion).ravel()))
    assert calibrated.mean() == pytest.approx(unknown.mean(), abs=0.01)


@pytest.mark.parametrize('unknown', [np.zeros(9), np.ones(9), np.zeros(0)])
def test_fusion_needs_unknown_pixels_and_others(unknown):
    values = {'map': np.arange(len(unknown), dtype=float)}
    with pytest.raises(CalibrationError, match='of the pixels that count show'):
        fit_fusion({'map': ('map', 0)}, {'map': np.arange(9.0)}, values, unknown)


CONFIG = Config(data=DataConfig(dataset='folder'))


@pytest.mark.parametrize(('sequences', 'warned'), [('aabb', False), (['', ''], True)])
def test_frames_of_no_known_sequence_are_warned_about(sequences, warned, capsys):
    image = np.zeros((4, 4, 3), np.uint8)
    samples = [SegmentationSample(image, image[..., 0], '', each) for each in sequences]
    context = SimpleNamespace(
        val_data=Frames.of(samples), console=Console(width=200), config=CONFIG
    )
    lengths = [len(list(images)) for _, images in _sequences(context)]
    assert sum(lengths) == len(sequences)
    assert ('which frames are of one sequence' in capsys.readouterr().out) == warned
