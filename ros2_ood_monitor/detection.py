"""The result of looking at one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ros2_ood_monitor.frame import Float32Array, UInt8Array

UNLABELED = 255
"""Label of pixels without a class, on the wire too; training calls it void."""


@dataclass(frozen=True)
class Region:
    """A connected unknown region; box in pixels of the camera image (not of the network input)."""

    x: float
    """Left edge."""
    y: float
    """Top edge."""
    width: float
    height: float
    area: float
    """Number of camera pixels covered."""
    peak: float
    """Highest anomaly probability inside, in [0, 1]."""
    mean: float
    """Mean anomaly probability inside, in [0, 1]."""

    def overlaps(self, other: Region) -> bool:
        """Return whether the boxes share more than an edge."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True)
class ChannelScore:
    """What one channel says about a frame; higher = more anomalous."""

    statistic: float
    """The raw statistic with the highest score."""
    score: float
    """Its -log10 conformal p-value, with a tail beyond the sample (`fusion.frame_score`); >= 0."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Segmentation, anomaly map and scores of one frame, at network input size (H, W).

    `labels` uint8 (H, W), 255 = unlabeled. `anomaly_map` float32 (H, W) in [0, 1], the calibrated
    probability that a pixel shows something unknown; NaN = invalid. `scores` holds one entry for
    each channel of the bundle, `statistics` every raw statistic by the names of
    `bundle.manifest.statistic_names`, `sensitive_regions` those of the sensitive operating point
    (None where the bundle has one only), `maps` the single detectors' maps at map resolution,
    `timings` milliseconds per stage.
    """

    labels: UInt8Array
    anomaly_map: Float32Array
    scores: Mapping[str, ChannelScore]
    regions: tuple[Region, ...] = ()
    sensitive_regions: tuple[Region, ...] | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    maps: Mapping[str, Float32Array] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The highest score of all channels; >= 0."""
        return max(each.score for each in self.scores.values())
