"""Settings of the dense flow."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import setting, settings


@dataclass(frozen=True)
@settings('flow')
class FlowConfig:
    """Normalising flow on whitened backbone taps."""

    taps: tuple[str, ...] = setting(
        (), 'Names of the backbone taps; empty = the last of the coarsest, at most of stride 16.'
    )
    channels: int = setting(48, 'Dimensions kept after whitening.', low=1, high=100_000)
    layers: int = setting(4, 'Coupling layers.', low=1, high=100_000)
    hidden: int = setting(64, 'Width of the networks in a coupling.', low=1, high=100_000)
    epochs: int = setting(12, 'Passes over the sampled pixels.', low=1, high=100_000)
    batch_size: int = setting(4096, 'Pixels per step, not images.', low=1, high=100_000)
    learning_rate: float = setting(2e-3, 'Step size of Adam.', low=1e-7, high=1)
    seed: int = setting(1, 'Seed of weights and sampling.', low=0, high=2**31 - 1)
