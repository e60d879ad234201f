"""What is compared with what: the YAML file of `python -m offline_training.compare`."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from offline_training.compare.attack import ATTACKS
from offline_training.detectors import DETECTORS
from offline_training.learning.read_settings import read_yaml
from offline_training.learning.settings import ConfigError
from offline_training.perturbations import PERTURBATIONS
from offline_training.pipeline.context import SEGMENTATION_SETS
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE

ANOMALY_FOLDER = 'anomaly_folder'
"""Images with a mask of what is unknown, without class labels."""
Kind = TypeVar('Kind')


@dataclass(frozen=True)
class ImageSet:
    """A data set and the folder it is read from, relative to the data root."""

    dataset: str
    data_dir: str
    split: str = 'test'


@dataclass(frozen=True)
class Perturbed:
    """Which perturbations of the normal frames are scored, and how strong they are."""

    names: tuple[str, ...] = tuple(PERTURBATIONS)
    severity: float = 0.5
    every: int = 1
    """Take each `every`-th frame."""


@dataclass(frozen=True)
class Attacked:
    """One attack on the normal frames; `settings` are those of its kind."""

    kind: str
    every: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row of the table: a detector with settings; the rest are its defaults."""

    detector: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CompareConfig:
    """One comparison; see config/compare for examples."""

    name: str
    experiment: str
    """Training configuration of the watched network, relative to this file."""
    weights: str | None
    """Checkpoint of the watched network, relative to the data root; None = give --run."""
    train: ImageSet
    """Normal driving that detectors are fitted on."""
    val: ImageSet
    """Normal driving on which scores are turned into probabilities of error."""
    normal: ImageSet
    """Normal driving that is scored."""
    detectors: dict[str, Row]
    train_every: int = 1
    val_every: int = 1
    images: dict[str, ImageSet] = field(default_factory=dict)
    """Sets with unknown objects."""
    perturbations: Perturbed = field(default_factory=lambda: Perturbed(names=()))
    attacks: dict[str, Attacked] = field(default_factory=dict)
    map_stride: int = MAP_STRIDE
    """Score maps are compared at the network's size divided by this; 4 is the monitor's own."""
    seed: int = 0
    resamples: int = 300
    """Of the bootstrap over images; 0 leaves intervals out."""


def load_compare_config(path: Path) -> CompareConfig:
    """Read and check a comparison; raises ConfigError naming the key that is wrong."""
    values = read_yaml(path)
    parts: dict[str, Any] = dict(values)
    for key in ('train', 'val', 'normal'):
        if key in values:
            parts[key] = _image_set(values[key], key)
    for key, build in (('images', _image_set), ('attacks', _attack), ('detectors', _row)):
        if key in values:
            parts[key] = {
                name: build(value, f'{key}.{name}')
                for name, value in _mapping(values[key], key).items()
            }
    if 'perturbations' in values:
        parts['perturbations'] = _perturbed(values['perturbations'])
    config = _build(CompareConfig, parts, str(path))
    for key, least in (
        ('map_stride', 1),
        ('train_every', 1),
        ('val_every', 1),
        ('seed', 0),
        ('resamples', 0),
    ):
        _at_least(least, getattr(config, key), f'{path}: {key}')
    for key in ('name', 'experiment'):
        if not isinstance(getattr(config, key), str):
            raise ConfigError(f'{path}: {key} is {getattr(config, key)!r} but must be text')
    if not (config.weights is None or isinstance(config.weights, str)):
        raise ConfigError(f'{path}: weights is {config.weights!r} but must be a file name')
    if not config.detectors:
        raise ConfigError(f'{path}: detectors is empty; name one at least')
    for key in ('train', 'val', 'normal'):
        _one_of(getattr(config, key).dataset, tuple(SEGMENTATION_SETS), f'{key}.dataset')
    taken = {'normal', 'val', *config.images, *config.attacks}
    total = 2 + len(config.images) + len(config.attacks)
    if len(taken) < total or taken & set(config.perturbations.names):
        raise ConfigError(f'{path}: two sets have the same name; rename one')
    for name in (*config.images, *config.attacks, *config.detectors):
        # They name files, beside those of the network, and questions end in these words.
        if (
            not re.fullmatch(r'\w[\w.+-]*', str(name))
            or name == 'network'
            or (
                name.endswith(('_errors', '_errors_no_void', '_frames'))
                and name not in config.detectors
            )
        ):
            raise ConfigError(
                f'{path}: {name!r} cannot be a name; take letters, digits and _, not network, and '
                'for a set no ending in _errors, _errors_no_void or _frames'
            )
    return config


def _image_set(value: Any, where: str) -> ImageSet:
    built = _build(ImageSet, _mapping(value, where), where)
    _one_of(built.dataset, (*SEGMENTATION_SETS, ANOMALY_FOLDER), f'{where}.dataset')
    _one_of(built.split, ('train', 'val', 'test'), f'{where}.split')
    if not isinstance(built.data_dir, str):
        raise ConfigError(f'{where}.data_dir is {built.data_dir!r} but must be a folder')
    return built


def _perturbed(value: Any) -> Perturbed:
    where = 'perturbations'
    values = _mapping(value, where)
    if 'names' in values:
        if not isinstance(values['names'], list):
            raise ConfigError(f'{where}.names is {values["names"]!r} but must be a list')
        values = {**values, 'names': tuple(values['names'])}
    built = _build(Perturbed, values, where)
    for name in built.names:
        _one_of(name, tuple(PERTURBATIONS), f'{where}.names')
    if not isinstance(built.severity, (int, float)) or not 0 < built.severity <= 1:
        raise ConfigError(f'{where}.severity is {built.severity}; give one above 0 and up to 1')
    _at_least(1, built.every, f'{where}.every')
    return built


def _attack(value: Any, where: str) -> Attacked:
    values = dict(_mapping(value, where))
    own: dict[str, Any] = {key: values.pop(key) for key in ('kind', 'every') if key in values}
    own['settings'] = values
    built = _build(Attacked, own, where)
    _one_of(built.kind, tuple(ATTACKS), f'{where}.kind')
    _at_least(1, built.every, f'{where}.every')
    return built


def _row(value: Any, where: str) -> Row:
    values = dict(_mapping(value if value is not None else {}, where))
    detector = values.pop('detector', where.partition('.')[2])
    _one_of(detector, tuple(DETECTORS), f'{where}.detector')
    return Row(detector, values)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f'{where} is {value!r} but must be a mapping; see config/compare')
    return value


def _build(kind: type[Kind], values: Mapping[str, Any], where: str) -> Kind:
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        _one_of(key, tuple(fields), f'{where}: key')
    missing = [
        name
        for name, each in fields.items()
        if name not in values
        and each.default is dataclasses.MISSING
        and each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f'{where} lacks {", ".join(missing)}; see config/compare for examples')
    return kind(**values)


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        close = difflib.get_close_matches(str(value), known, n=1)
        hint = f'did you mean {close[0]!r}?' if close else f'choose one of {", ".join(known)}'
        raise ConfigError(f'{where} {value!r} is not known; {hint}')


def _at_least(least: int, value: Any, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f'{where} is {value!r} but must be a whole number from {least} on')
