"""Read an experiment from YAML and the command line, completed by what its data set decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offline_training.learning.read_settings import build, given_values
from offline_training.pipeline.config import SYNTHETIC, Config
from offline_training.pipeline.data_defaults import with_data_defaults


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
