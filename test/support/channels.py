"""Channels and scores for tests that need no networks."""

from __future__ import annotations

from ros2_ood_monitor.bundle.manifest import (
    Alarm,
    Certificate,
    Channel,
    FrameScore,
    FusedMap,
    Fusion,
    Regions,
)
from ros2_ood_monitor.detection import ChannelScore


def some_channel(alarm: Alarm, frame_rate: float = 20.0, sequences: int = 4) -> Channel:
    """Return a channel with this alarm rule; the rest is of no account."""
    return Channel(
        fusion=Fusion((FusedMap('map', 'map', 0, 0.0, 1.0, 1.0),), 0.0),
        regions=Regions(0.5, 10),
        frame_score=FrameScore(0.05, (0.0,)),
        alarms=(alarm,),
        certificate=Certificate(1.0, 1.0, frame_rate, sequences, 0.1),
    )


def channel_scores(object_score: float, **others: float) -> dict[str, ChannelScore]:
    """Return the scores of the channel `object` and of others, statistics equal to them."""
    return {
        name: ChannelScore(score, score)
        for name, score in (('object', object_score), *others.items())
    }
