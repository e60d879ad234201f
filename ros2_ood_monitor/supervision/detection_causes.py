"""What the alarm rules and the regions of scored frames give as causes of a state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ros2_ood_monitor.alert import Cause, State
from ros2_ood_monitor.bundle.manifest import (
    DEFAULT_CHANNEL,
    UNKNOWN_VIEW,
    UNUSUAL_IMAGE,
    Channel,
)
from ros2_ood_monitor.detection import Region
from ros2_ood_monitor.supervision.cusum import Cusum

MEANINGS = {
    UNKNOWN_VIEW: 'the view is not what the network knows',
    UNUSUAL_IMAGE: 'the image is unlike those of the calibration, so that unknown objects in it '
    'may go unseen',
}
"""What the alarm of a channel says, by its code."""


def alarm_causes(
    channels: Mapping[str, Channel], rules: Sequence[tuple[str, Cusum]]
) -> Iterator[Cause]:
    """Yield for each kind of alarm the rule that is furthest beyond its threshold."""
    furthest: dict[str, tuple[str, Cusum]] = {}
    for name, cusum in rules:
        code = channels[name].cause
        if cusum.alarming and (
            code not in furthest or reached(cusum) > reached(furthest[code][1])
        ):
            furthest[code] = (name, cusum)
    for code, (name, cusum) in furthest.items():
        yield Cause(
            State.ALERT,
            code,
            f'{MEANINGS[code]}: evidence {cusum.evidence:.1f} reached the alarm threshold '
            f'{cusum.threshold:.1f}{of_channel(name, code)}',
        )


def reached(cusum: Cusum) -> float:
    """Return the evidence as a share of the threshold."""
    return cusum.evidence / cusum.threshold


def region_cause(state: State, region: Region) -> Cause:
    """Return the cause of a region that persists; box in pixels of the camera image."""
    return Cause(
        state,
        'unknown_region',
        f'an unknown region of {region.width:.0f}x{region.height:.0f} pixels at '
        f'({region.x:.0f}, {region.y:.0f})',
    )


def of_channel(channel: str, code: str = UNKNOWN_VIEW) -> str:
    """Name a channel in a sentence, unless it goes without saying."""
    if channel == DEFAULT_CHANNEL or code == UNUSUAL_IMAGE:
        return ''
    return f' of the channel {channel}'
