"""The alarm rule: a one-sided cumulative sum of frame scores (Page, Biometrika 1954)."""

from __future__ import annotations

from ros2_ood_monitor.bundle.manifest import Alarm

DRAIN_S = 0.1
"""Evidence above the threshold is capped at what this many seconds of zero scores remove."""


LEAST_FRAMES = 3
"""Fewer frames never raise the alarm, however anomalous: a glitch is not an object."""


class Cusum:
    """S = max(0, S + min(score - drift, threshold / 3)), alarm at S >= threshold.

    S is capped a little above the threshold. The cap does not change when an alarm first fires,
    only how long it lasts after its cause: without it, evidence of a minute would take a minute to
    fall. `frame_rate` is that of the calibration in Hz.

    >>> cusum = Cusum(Alarm(drift=1.0, threshold=6.0), frame_rate=10.0)
    >>> for score in (0.5, 3.0, 9.0, 9.0):
    ...     cusum.update(score)
    ...     print(cusum.evidence, cusum.alarming)
    0.0 False
    2.0 False
    4.0 False
    6.0 True
    """

    def __init__(self, alarm: Alarm, frame_rate: float) -> None:
        self.alarm = alarm
        self.evidence = 0.0
        overhang = alarm.drift * frame_rate * DRAIN_S
        self._cap = alarm.threshold + min(alarm.threshold, overhang)

    @property
    def threshold(self) -> float:
        """The evidence that raises the alarm."""
        return self.alarm.threshold

    @property
    def alarming(self) -> bool:
        """True while the evidence reaches the threshold."""
        # Three thirds may add up to one ulp less than the threshold.
        return self.evidence >= self.threshold * (1 - 1e-12)

    def update(self, score: float, weight: float = 1.0) -> None:
        """Add one frame's conformal score (finite, >= 0), which counts as `weight` frames.

        See `FrameRate.weight`; three frames stay the fewest that raise the alarm.
        """
        step = min(weight * (score - self.alarm.drift), self.alarm.threshold / LEAST_FRAMES)
        self.evidence = min(self._cap, max(0.0, self.evidence + step))
