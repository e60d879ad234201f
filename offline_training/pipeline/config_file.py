"""Read an experiment from YAML and the command line, completed by what its data set decides."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offline_training.data.base import SegmentationDataset
from offline_training.learning.read_settings import build, given_values
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.config import SYNTHETIC, Config
from offline_training.pipeline.context import open_dataset
from offline_training.segmentation.backbones import without_weights
from offline_training.watched.graphs import tap_shapes

LONGEST_INPUT = 1024
"""Larger images are shrunk: real time on a robot is not to be had beyond."""
LONGEST_CROP = 512
STEPS = 20_000
"""Optimiser steps that the published trainings of small networks take, roughly."""
FEWEST_EPOCHS, MOST_EPOCHS = 30, 400
LOOKED_AT = 25
"""Images whose size is read, spread over the training split."""


def with_data_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values of `Config` with the absent keys that depend on the data filled in.

    The data set is opened only if it has to be.

    Raises:
        ConfigError: a value is wrong, or the images must be looked at and `data.data_dir` is not
            set.
        DataError: the data set cannot be opened.
    """
    values = {
        key: dict(part) if isinstance(part, Mapping) else part for key, part in given.items()
    }
    config = build(Config, values)
    shapes = tap_shapes(without_weights(config.backbone.architecture), 256, 256)
    stride = math.lcm(8, *(stride for _, stride in shapes.values()))
    size = values.setdefault('input', {})
    backbone = values.setdefault('backbone', {})
    values.setdefault('name', _name(config))
    dataset: SegmentationDataset | None = None
    if config.data.dataset != 'synthetic':
        if not {'width', 'height'} <= size.keys():
            dataset = _training_images(config)
            for key, pixels in zip(('width', 'height'), _input_size(dataset, stride), strict=True):
                size.setdefault(key, pixels)
        if 'epochs' not in backbone and config.data.data_dir is not None:
            backbone['epochs'] = _epochs(dataset or _training_images(config), config)
    config = build(Config, values)
    crop = _crop(config.input.width, config.input.height, stride)
    phases = backbone.get('phases', [{}])
    backbone['phases'] = [{**crop, **phase} for phase in phases]
    return values


def _name(config: Config) -> str:
    data = config.data
    if data.dataset != 'folder' or data.data_dir is None:
        return data.dataset
    return re.sub(r'[^\w.+-]+', '_', Path(data.data_dir).resolve().name).strip('_') or 'folder'


def _training_images(config: Config) -> SegmentationDataset:
    if config.data.data_dir is None:
        raise ConfigError(
            f'data.data_dir is not set but the data set {config.data.dataset!r} is read from a '
            'folder, and input.width and input.height depend on its images; give --data-dir'
        )
    return open_dataset(config, 'train')


def _input_size(dataset: SegmentationDataset, stride: int) -> tuple[int, int]:
    """Return the most common width and height, shrunk if large, as the nearest whole strides."""
    chosen = {round(i * (len(dataset) - 1) / LOOKED_AT) for i in range(LOOKED_AT + 1)}
    sizes = Counter(dataset[index].image.shape[:2] for index in sorted(chosen))
    (height, width), _ = sizes.most_common(1)[0]
    scale = min(1.0, LONGEST_INPUT / max(height, width))
    sides = [max(32, stride, round(side * scale / stride) * stride) for side in (width, height)]
    return sides[0], sides[1]


def _crop(width: int, height: int, stride: int) -> dict[str, int]:
    """Return the size of crops: the input's, or of its shape with a longer side of 512."""
    scale = min(1.0, LONGEST_CROP / max(width, height))
    if scale == 1.0:
        return {'crop_width': width, 'crop_height': height}
    sides = [max(32, stride, round(side * scale / stride) * stride) for side in (width, height)]
    return {'crop_width': sides[0], 'crop_height': sides[1]}


def _epochs(dataset: SegmentationDataset, config: Config) -> int:
    steps = max(1, len(dataset) // config.backbone.phases[0].batch_size)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(STEPS / steps)))


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a YAML file with dotted overrides.

    Without a file it is the synthetic experiment, or, if the overrides name another data set,
    defaults alone. What is given nowhere and depends on the data is looked up there.

    Args:
        path: A YAML file; absent keys keep their defaults.
        overrides: Command line words such as `['--backbone.epochs', '20']`.

    Raises:
        ConfigError: The file is missing or no YAML, a key or value is not allowed, or a default
            depends on a data set whose folder is not given.
        DataError: The folder of the data set is not usable.
    """
    given = given_values(Config, path, overrides)
    if path is None and given.get('data', {}).get('dataset', 'synthetic') == 'synthetic':
        given = _merged(SYNTHETIC, given)
    return build(Config, with_data_defaults(given))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values, those `above` before those `below`."""
    both = {**below, **above}
    return {
        key: _merged(below[key], value)
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        else value
        for key, value in both.items()
    }
