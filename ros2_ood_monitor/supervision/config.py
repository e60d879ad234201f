"""Limits and delays of the supervision of one camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from ros2_ood_monitor.parameter import ParameterError, Value
from ros2_ood_monitor.parameters import check_parameter, default

GROUP = 'supervision'


@dataclass(frozen=True)
class SupervisionConfig:
    """The parameters of group `supervision`, documented, typed and bounded by the one table.

    Raises ParameterError naming the parameter that is out of range.
    """

    heartbeat_hz: float = default('supervision.heartbeat_hz')
    startup_timeout_s: float = default('supervision.startup_timeout_s')
    stale_after_s: float = default('supervision.stale_after_s')
    frozen_after_s: float = default('supervision.frozen_after_s')
    max_age_ms: float = default('supervision.max_age_ms')
    check_stamp_age: bool = default('supervision.check_stamp_age')
    max_future_ms: float = default('supervision.max_future_ms')
    black_level: float = default('supervision.black_level')
    white_level: float = default('supervision.white_level')
    min_contrast: float = default('supervision.min_contrast')
    max_megapixels: float = default('supervision.max_megapixels')
    max_image_mb: float = default('supervision.max_image_mb')
    check_color: bool = default('supervision.check_color')
    trigger_frames: int = default('supervision.trigger_frames')
    trigger_window: int = default('supervision.trigger_window')
    release_frames: int = default('supervision.release_frames')
    release_s: float = default('supervision.release_s')
    latch: bool = default('supervision.latch')
    restart_attempts: int = default('supervision.restart_attempts')
    restart_backoff_s: float = default('supervision.restart_backoff_s')

    def __post_init__(self) -> None:
        for field in fields(self):
            value = check_parameter(f'{GROUP}.{field.name}', getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        if self.black_level >= self.white_level:
            raise ParameterError(
                f'supervision.black_level must be below supervision.white_level, not '
                f'{self.black_level:g} against {self.white_level:g}'
            )

    @staticmethod
    def from_parameters(values: Mapping[str, Value]) -> SupervisionConfig:
        """Pick the group's parameters out of `values`, keyed by their full names."""
        names = [field.name for field in fields(SupervisionConfig)]
        chosen = {name: values[f'{GROUP}.{name}'] for name in names}
        return SupervisionConfig(**chosen)  # type: ignore[arg-type]
