"""Settings of fusion, regions, frame score and alarm rule."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import setting, settings


@dataclass(frozen=True)
@settings('calibration')
class CalibrationConfig:
    """Fusion, regions, conformal frame score and alarm rule."""

    region_threshold: float = setting(
        0.5,
        'Least probability of being unknown for a pixel of a region; normal driving may raise it.',
        low=0.001,
        high=0.999,
    )
    min_area: int = setting(
        48,
        'Smallest region in pixels of the map at a quarter of the input size.',
        low=1,
        high=10_000_000,
    )
    top_fraction: float = setting(
        0.003,
        'Share of the map, its highest pixels, whose mean is the statistic of a frame.',
        low=1e-5,
        high=1,
    )
    budget_per_hour: float = setting(
        1.0, 'False alarms per hour that the alarm threshold is computed for.', low=1e-4, high=3600
    )
    frame_rate: float = setting(
        15.0,
        'Frames per second of the calibration sequences and of the camera.',
        low=0.1,
        high=1000,
    )
    block_seconds: float = setting(
        6.0,
        'Length of the blocks whose largest evidence sets the alarm threshold.',
        low=0.1,
        high=1000,
    )
    clips: int = setting(
        20,
        'Synthetic sequences for calibration; other sets use their validation sequences.',
        low=2,
        high=10_000,
    )
    left_out_fits: int = setting(
        2,
        'Fits of flow and observer without some training sequences, which are calibrated on, as '
        'no detector may have seen them; half as long as training. 0 = validation frames only.',
        low=0,
        high=20,
    )
    seed: int = setting(1, 'Seed of pasted objects and sequences.', low=0, high=2**31 - 1)
