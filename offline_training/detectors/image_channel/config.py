"""Settings of the image channel."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import setting, settings


@dataclass(frozen=True)
@settings('image')
class ImageConfig:
    """Image channel: statistics of the taps over the whole frame."""

    components: int = setting(
        60, 'Principal components of the moments that are kept.', low=1, high=10_000
    )
    degraded_frames: int = setting(
        60,
        'Normal frames that are degraded in seven ways to learn what bad images look like.',
        low=1,
        high=100_000,
    )
    seed: int = setting(1, 'Seed of the degraded frames.', low=0, high=2**31 - 1)
