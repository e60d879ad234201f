"""Which causes of a state each channel of a bundle accounts for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ros2_ood_monitor.bundle.manifest import Channel

REGION = 'unknown_region'
OTHERS = 'input checks'


def channel_causes(
    channels: Mapping[str, Channel], seen: Iterable[str]
) -> dict[str, frozenset[str]]:
    """Return the codes of causes by part of the monitor: its channels, then the input checks.

    Channels that raise the same cause are one part. The codes in `seen` that no channel raises
    are those of the input checks.
    """
    names: dict[str, list[str]] = {}
    for name, channel in channels.items():
        names.setdefault(channel.cause, []).append(name)
    parts = {
        ' + '.join(own): frozenset(
            {cause, REGION} if any(channels[name].regions for name in own) else {cause}
        )
        for cause, own in names.items()
    }
    return {**parts, OTHERS: frozenset(seen).difference(*parts.values())}
