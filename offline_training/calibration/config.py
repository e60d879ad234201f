"""Settings of fusion, regions, frame score and alarm rule."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import between, check


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
        between('calibration', self, 0.001, 0.999, 'region_threshold')
        between('calibration', self, 1, 10_000_000, 'min_area')
        between('calibration', self, 1e-5, 1, 'top_fraction')
        between('calibration', self, 1e-4, 3600, 'budget_per_hour')
        between('calibration', self, 0.1, 1000, 'frame_rate', 'block_seconds')
        check(
            'calibration',
            'drift',
            self.drift,
            self.drift is None or 0.01 <= self.drift <= 10,
            'null or between 0.01 and 10',
        )
        between('calibration', self, 2, 10_000, 'clips')
        between('calibration', self, 0, 2**31 - 1, 'seed')
