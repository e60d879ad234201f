"""The attacks of a comparison: every frame attacked against the watched network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from offline_training.attacks.autoencoder_training import AttackSettings, AutoencoderTraining
from offline_training.attacks.gradient_sign import channels_first, cospgd, iterative_fgsm, pgd
from offline_training.attacks.local_adversarial import LOCAL_ATTACKS, named_local_attack
from offline_training.attacks.malicious_autoencoder import (
    MaliciousAutoencoder,
    in_color_order,
    load_attacker,
)
from offline_training.attacks.universal import (
    data_prior,
    load_perturbation,
    perturbed,
    save_perturbation,
    universal_perturbation,
)
from offline_training.compare.experiment import Experiment
from offline_training.compare.source import Source
from offline_training.learning.session import Session
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import write_tensors
from ros2_ood_monitor.bundle.store import Entry

Attack = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""Images float32 (B, 3, H, W) in 0..255 and labels int64 (B, H, W) to attacked images."""


@dataclass(frozen=True, eq=False)
class Victim:
    """What an attacker knows of the network that is watched."""

    experiment: Experiment
    train: Source
    """Normal images that an attack may learn from."""
    val: Source
    """Normal images on which the best state of an attack is chosen."""
    folder: Path
    """Where an attack keeps what it learns once."""
    name: str
    seed: int


def _gradient_sign(
    victim: Victim, *, epsilon: float = 8.0, steps: int = 1, target: str | None = None
) -> Attack:
    segment = channels_first(victim.experiment.watched)
    names = list(victim.experiment.class_names)
    if target is not None and target not in names:
        raise ConfigError(f'an attack aims at {target!r}, but the classes are {", ".join(names)}')

    def attack(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        if target is None:
            return iterative_fgsm(segment, images, labels, epsilon, steps)
        everywhere = torch.full_like(labels, names.index(target))
        return iterative_fgsm(segment, images, everywhere, epsilon, steps, targeted=True)

    return attack


def _projected(
    method: Callable[..., Tensor], victim: Victim, *, epsilon: float = 8.0, steps: int = 10
) -> Attack:
    segment = channels_first(victim.experiment.watched)
    return lambda images, labels, generator: method(
        segment, images, labels, epsilon, steps, generator
    )


def _local(victim: Victim, *, epsilon: float = 16.0, name: str = 'min_random_patch') -> Attack:
    segment = channels_first(victim.experiment.watched)
    if name not in LOCAL_ATTACKS:
        raise ConfigError(
            f'there is no local attack {name!r}; take one of {", ".join(LOCAL_ATTACKS)}'
        )
    return lambda images, labels, generator: named_local_attack(
        name, segment, images, labels, epsilon, generator
    )[0]


def _universal(
    victim: Victim, *, epsilon: float = 10.0, steps: int = 80, batch: int = 4
) -> Attack:
    learnt, path = _learnt(
        victim, 'universal', {'epsilon': epsilon, 'steps': steps, 'batch': batch}
    )

    @cache
    def delta() -> Tensor:
        if learnt.why_not() is not None:
            found = universal_perturbation(
                channels_first(victim.experiment.watched.features),
                data_prior(batch, victim.train.frames().images),
                epsilon,
                steps,
                torch.Generator().manual_seed(victim.seed),
                learning_rate=0.05 * epsilon,
                device=victim.experiment.watched.device,
            )
            save_perturbation(path, found)
            learnt.record(files=[path])
        return load_perturbation(path)

    return lambda images, labels, generator: perturbed(images, delta())


def _autoencoder(
    victim: Victim, *, psnr: float = 30.0, steps: int = 400, width: int = 8
) -> Attack:
    asked = AttackSettings(psnr=psnr, steps=steps, width=width, seed=victim.seed)
    learnt, path = _learnt(victim, 'autoencoder', asdict(asked))

    @cache
    def attacker() -> MaliciousAutoencoder:
        order = victim.experiment.config.input.color_order
        if learnt.why_not() is not None:
            training = AutoencoderTraining(
                victim.experiment.watched,
                victim.train.frames(),
                victim.val.frames(),
                asked,
            )
            console = Console(stderr=True)
            # A frame is waiting under the bar of its source: two bars at once would overwrite.
            session = Session(path.with_suffix('.pt'), console=console, bars=False)
            trained = training.run(session)
            if not training.keeps_psnr:
                console.print(
                    f'warning: {victim.name} does not keep {psnr:g} dB on val; give it more steps'
                )
            write_tensors(path, in_color_order(trained.cpu(), order).state_dict())
            learnt.record(files=[path])
        return in_color_order(load_attacker(path), order).to(victim.experiment.watched.device)

    def attack(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        redraw = attacker()  # trains at the first call, so gradients must be on
        with torch.no_grad():
            redrawn: Tensor = redraw(images)
        return redrawn

    return attack


ATTACKS: dict[str, Callable[..., Attack]] = {
    'fgsm': _gradient_sign,
    'pgd': partial(_projected, pgd),
    'cospgd': partial(_projected, cospgd),
    'local': _local,
    'universal': _universal,
    'autoencoder': _autoencoder,
}
"""What prepares each kind of attack, quickly; its keywords are the settings of the kind."""
LEARNT_FROM = {'universal': ('train',), 'autoencoder': ('train', 'val')}
"""Sources of a `Victim` that an attack learns from; the others learn nothing."""


def _learnt(victim: Victim, kind: str, settings: Mapping[str, Any]) -> tuple[Entry, Path]:
    """Return the entry and the file of what an attack learns once; others stay beside it."""
    properties = {
        **settings,
        'seed': victim.seed,
        'watched': victim.experiment.properties,
        **{name: getattr(victim, name).properties for name in LEARNT_FROM[kind]},
    }
    entry = Entry(victim.folder, victim.name, properties, variants=True)
    return entry, victim.folder / f'{entry.name}.safetensors'


def prepare_attack(kind: str, victim: Victim, settings: Mapping[str, Any]) -> Attack:
    """Return an attack; long work waits for the first frame.

    Raises:
        ConfigError: a setting is unknown or impossible.
    """
    prepare = ATTACKS[kind]
    defaults = {
        name: each.default
        for name, each in inspect.signature(prepare).parameters.items()
        if each.kind is each.KEYWORD_ONLY
    }
    if unknown := set(settings) - set(defaults):
        raise ConfigError(
            f'an attack has the setting {sorted(unknown)[0]!r}, but it takes '
            f'{", ".join(defaults)}; correct it'
        )
    for key, value in settings.items():
        default = defaults[key]
        kinds = (int,) if isinstance(default, int) else (int, float)
        if isinstance(default, (int, float)) and (
            not isinstance(value, kinds) or isinstance(value, bool) or value <= 0
        ):
            number = 'a whole number' if kinds == (int,) else 'a number'
            raise ConfigError(
                f'an attack has {key} {value!r}, but it must be {number} above 0; correct it'
            )
    return prepare(victim, **settings)
