"""Settings of the observer head."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import between


@dataclass(frozen=True)
class ObserverConfig:
    """Observer head, trained on local adversarial attacks and pasted textures."""

    taps: tuple[str, ...] = ()
    """Names of the backbone taps; empty = all."""
    width: int = 32
    epochs: int = 8
    batch_size: int = 6
    learning_rate: float = 3e-3
    attack_share: float = 0.15
    """Share of batches with a local adversarial attack on the backbone."""
    epsilon: float = 0.007
    """Size of the attack's step, in 0..1 of the pixel range (ObsNet: 0.025 deviations)."""
    max_objects: int = 4
    """Most unknown objects pasted into one image."""
    seed: int = 1

    def __post_init__(self) -> None:
        between('observer', self, 1, 100_000, 'epochs', 'batch_size')
        between('observer', self, 8, 512, 'width')
        between('observer', self, 1, 20, 'max_objects')
        between('observer', self, 1e-7, 1, 'learning_rate')
        between('observer', self, 0, 1, 'epsilon', 'attack_share')
        between('observer', self, 0, 2**31 - 1, 'seed')
