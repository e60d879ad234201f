"""Settings of the observer head."""

from __future__ import annotations

from dataclasses import dataclass

from offline_training.learning.settings import setting, settings


@dataclass(frozen=True)
@settings('observer')
class ObserverConfig:
    """Observer head, trained on local adversarial attacks and pasted textures."""

    taps: tuple[str, ...] = setting((), 'Names of the backbone taps; empty = all.')
    width: int = setting(32, 'Channels of the head.', low=8, high=512)
    epochs: int = setting(8, 'Passes over the training set.', low=1, high=100_000)
    batch_size: int = setting(6, 'Images per step.', low=1, high=100_000)
    learning_rate: float = setting(3e-3, 'Highest step size of AdamW.', low=1e-7, high=1)
    attack_share: float = setting(
        0.15, 'Share of batches with a local adversarial attack on the backbone.', low=0, high=1
    )
    epsilon: float = setting(
        0.007,
        "Size of the attack's step, in 0..1 of the pixel range (ObsNet: 0.025 deviations).",
        low=0,
        high=1,
    )
    max_objects: int = setting(4, 'Most unknown objects pasted into one image.', low=1, high=20)
    objects: str | None = setting(
        None,
        'Folder of cut-outs (images with alpha) that half of the pasted objects are taken from.',
        null='all of them are generated',
    )
    seed: int = setting(1, 'Seed of weights, objects and attacks.', low=0, high=2**31 - 1)
