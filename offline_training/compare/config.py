"""What is compared with what: the YAML file of `python -m offline_training.compare`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from offline_training.compare.attack import ATTACKS
from offline_training.detectors import DETECTORS
from offline_training.learning.read_settings import (
    build,
    check_keywords,
    read_yaml,
    refuse_unknown,
)
from offline_training.learning.settings import (
    REQUIRED,
    ConfigError,
    Setting,
    refusal,
    setting,
    settings,
)
from offline_training.perturbations import PERTURBATIONS
from offline_training.pipeline.context import SEGMENTATION_SETS
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE

ANOMALY_FOLDER = 'anomaly_folder'
"""Images with a mask of what is unknown, without class labels."""


@dataclass(frozen=True)
@settings()
class ImageSet:
    """A data set and the folder it is read from, relative to the data root."""

    dataset: str = setting(
        REQUIRED,
        'A set with labels, or anomaly_folder, images with masks of what is unknown.',
        choices=(*SEGMENTATION_SETS, ANOMALY_FOLDER),
    )
    data_dir: str = setting(REQUIRED, 'Its folder, relative to the data root.')
    split: Literal['train', 'val', 'test'] = setting('test', 'Part of the set.')


@dataclass(frozen=True)
@settings('perturbations')
class Perturbed:
    """Which perturbations of the normal frames are scored, and how strong they are."""

    names: tuple[str, ...] = setting(
        tuple(PERTURBATIONS), 'Perturbations.', choices=tuple(PERTURBATIONS)
    )
    severity: float = setting(0.5, 'How strong they are.', above=0, high=1)
    every: int = setting(1, 'Take each `every`-th frame.', low=1)


@dataclass(frozen=True)
@settings()
class Attacked:
    """One attack on the normal frames."""

    kind: str = setting(REQUIRED, 'Kind of attack.', choices=tuple(ATTACKS))
    every: int = setting(1, 'Take each `every`-th frame.', low=1)
    settings: Mapping[str, Any] = setting({}, 'Those of its kind.')


@dataclass(frozen=True)
@settings()
class Row:
    """One row of the table: a detector with settings; the rest are its defaults."""

    detector: str = setting(REQUIRED, 'Which detector.', choices=tuple(DETECTORS))
    settings: Mapping[str, Any] = setting({}, 'Those of its constructor.')


@dataclass(frozen=True)
@settings()
class CompareConfig:
    """One comparison; see config/compare for examples."""

    name: str = setting(REQUIRED, 'Title of the report.')
    experiment: str = setting(
        REQUIRED, 'Training configuration of the watched network, relative to this file.'
    )
    weights: str | None = setting(
        REQUIRED, 'Its checkpoint, relative to the data root.', null='those of --run'
    )
    train: ImageSet = setting(REQUIRED, 'Normal driving that detectors are fitted on.')
    val: ImageSet = setting(
        REQUIRED, 'Normal driving on which scores are turned into probabilities of error.'
    )
    normal: ImageSet = setting(REQUIRED, 'Normal driving that is scored.')
    detectors: dict[str, Row] = setting(REQUIRED, 'Rows of the table by name.')
    train_every: int = setting(1, 'Fit on each `train_every`-th image.', low=1)
    val_every: int = setting(1, 'Take each `val_every`-th image of val.', low=1)
    images: dict[str, ImageSet] = setting({}, 'Sets with unknown objects by name.')
    perturbations: Perturbed = setting(Perturbed(names=()), 'Changes of the normal frames.')
    attacks: dict[str, Attacked] = setting({}, 'Attacks on the normal frames by name.')
    map_stride: int = setting(
        MAP_STRIDE,
        "Score maps are compared at the network's size divided by this; 4 is the monitor's own.",
        low=1,
    )
    seed: int = setting(0, 'Seed of perturbations, attacks and the bootstrap.', low=0)
    resamples: int = setting(300, 'Of the bootstrap over images; 0 leaves intervals out.', low=0)


def load_compare_config(path: Path) -> CompareConfig:
    """Read and check a comparison; raises ConfigError naming the key that is wrong."""
    values = read_yaml(path)
    for key, keep in (('attacks', ('kind', 'every')), ('detectors', ('detector',))):
        if isinstance(values.get(key), dict):
            values[key] = {str(n): _apart(each, keep) for n, each in values[key].items()}
    for name, row in (values.get('detectors') or {}).items():
        if isinstance(row, dict):
            row.setdefault('detector', name)
    refuse_unknown(values, CompareConfig, str(path))
    try:
        config = build(CompareConfig, values)
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from None
    for name, row in config.detectors.items():
        check_keywords(DETECTORS[row.detector], row.settings, f'{path}: detectors.{name}')
    if not config.detectors:
        raise ConfigError(f'{path}: detectors is empty; name one at least')
    labelled = Setting('', choices=tuple(SEGMENTATION_SETS))
    for key in ('train', 'val', 'normal'):
        dataset = getattr(config, key).dataset
        if dataset not in labelled.choices:
            raise refusal(f'{path}: {key}', 'dataset', dataset, str, labelled)
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


def _apart(value: Any, own: tuple[str, ...]) -> Any:
    """Put all keys but `own` under the key `settings`."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        return value
    rest = {key: each for key, each in value.items() if key not in own}
    return {**{key: value[key] for key in own if key in value}, 'settings': rest}
