"""Settings of the dense flow."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import between


@dataclass(frozen=True)
class FlowConfig:
    """Normalising flow on whitened backbone taps."""

    taps: tuple[str, ...] = ()
    """Names of the backbone taps; empty = those at a quarter of the input size and coarser."""
    channels: int = 48
    """Dimensions kept after whitening."""
    layers: int = 4
    hidden: int = 64
    epochs: int = 12
    batch_size: int = 4096
    """Pixels, not images."""
    learning_rate: float = 2e-3
    seed: int = 1

    def __post_init__(self) -> None:
        between('flow', self, 1, 100_000, 'channels', 'layers', 'hidden', 'epochs', 'batch_size')
        between('flow', self, 1e-7, 1, 'learning_rate')
        between('flow', self, 0, 2**31 - 1, 'seed')
