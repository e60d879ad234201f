"""What a scene generator takes and gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.frame import UInt8Array


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """One synthetic camera frame with its truth.

    `image` uint8 RGB (H, W, 3); `labels` uint8 (H, W), 255 where an anomaly is; `anomaly` bool
    (H, W).
    """

    image: UInt8Array
    labels: UInt8Array
    anomaly: NDArray[np.bool_]


VIEW_KINDS = ('fog', 'warehouse')


@dataclass(frozen=True)
class AnomalyEvent:
    """Something unknown is in view from `start_s` for `duration_s` seconds of a clip.

    It is in the image exactly in the frames with start_s <= t < start_s + duration_s. `cover`
    is about the share of the image that it covers when it appears, 0.008 to 0.1; it grows while
    it comes nearer and never covers less than 0.6 %. `kind` is a name from `anomalies.KINDS` or
    `anomalies.VALIDATION_KINDS`; None draws one of `anomalies.KINDS`.

    Raises:
        ValueError: A time is negative, the duration is not positive or the cover out of range.
    """

    start_s: float
    duration_s: float
    kind: str | None = None
    cover: float = 0.008

    def __post_init__(self) -> None:
        if not self.start_s >= 0 or not self.duration_s > 0:
            raise ValueError(
                f'anomaly event at {self.start_s} s for {self.duration_s} s: give a start >= 0 '
                'and a duration > 0.'
            )
        if not 0.008 <= self.cover <= 0.1:
            raise ValueError(f'anomaly event with cover {self.cover}: give 0.008 to 0.1.')


@dataclass(frozen=True)
class ViewEvent:
    """The whole view is another from `start_s` for `duration_s` seconds of a clip.

    `kind` is one of `VIEW_KINDS`: fog denser than in any training scene, or a warehouse.

    Raises:
        ValueError: A time is negative, the duration is not positive or the kind unknown.
    """

    start_s: float
    duration_s: float
    kind: str

    def __post_init__(self) -> None:
        if not self.start_s >= 0 or not self.duration_s > 0 or self.kind not in VIEW_KINDS:
            raise ValueError(
                f'view event {self.kind!r} at {self.start_s} s for {self.duration_s} s: give a '
                f'start >= 0, a duration > 0 and one of {", ".join(VIEW_KINDS)}.'
            )

    def lasts_at(self, time: float) -> bool:
        """Return whether it lasts at a time of the clip."""
        return 0 <= time - self.start_s + 1e-9 < self.duration_s
