"""Refuse a setting that is unknown or out of range, in one sentence."""

from __future__ import annotations

from typing import Any


class ConfigError(ValueError):
    """A configuration value is unknown or out of range; the sentence names key, value, range."""


def check(section: str, key: str, value: Any, ok: bool, allowed: str) -> None:
    """Raise ConfigError naming `section.key`, its value and what is allowed, unless `ok`."""
    if not ok:
        name = f'{section}.{key}' if section else key
        raise ConfigError(
            f'{name} is {value!r} but must be {allowed}; correct it in the '
            'configuration or on the command line'
        )


def between(section: str, config: Any, low: float, high: float, *keys: str) -> None:
    """Raise ConfigError unless each of the `keys` of `config` lies between `low` and `high`."""
    for key in keys:
        value = getattr(config, key)
        check(section, key, value, low <= value <= high, f'between {low:g} and {high:g}')
