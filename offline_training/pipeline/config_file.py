"""Read a configuration from YAML and the command line, and refuse unknown keys by name."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from offline_training.learning.settings import ConfigError
from offline_training.pipeline.config import SYNTHETIC, Config, to_dict


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a YAML file (None = SYNTHETIC) with dotted overrides.

    Args:
        path: A YAML file; absent keys keep their defaults.
        overrides: Command line words such as `['--backbone.epochs', '20']`.

    Raises:
        ConfigError: The file is missing or no YAML, or a key or value is not allowed.
    """
    values = read_yaml(path) if path is not None else {}
    _refuse_unknown(values, Config, '', str(path))
    parser = ArgumentParser(prog='offline_training', exit_on_error=False, add_help=False)
    hints = get_type_hints(Config)
    defaults = SYNTHETIC if path is None else Config()
    for item in dataclasses.fields(Config):
        parser.add_argument(
            f'--{item.name}', type=hints[item.name], default=getattr(defaults, item.name)
        )
    _refuse_unknown_options(overrides)
    try:
        base = parser.parse_object(values)
        parsed = parser.parse_args(list(overrides), namespace=base)
        built = parser.instantiate(parsed)
    except ConfigError:
        raise
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(_one_sentence(error, path)) from None
    return Config(**{item.name: getattr(built, item.name) for item in dataclasses.fields(Config)})


def to_yaml(config: Config) -> str:
    """Return the whole configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML mapping, {} of an empty file; raises ConfigError naming the file."""
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ConfigError(f'{path} does not exist; see the folder config for examples') from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'{path} is not readable YAML ({reason}); correct it') from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f'{path} must be a mapping of sections such as "backbone:"; correct it')
    return values


def _item_dataclass(hint: Any) -> Any:
    """Return the dataclass a field holds, directly or as the items of a tuple, else None."""
    if dataclasses.is_dataclass(hint):
        return hint
    items = get_args(hint) if get_origin(hint) is tuple else ()
    return items[0] if items and dataclasses.is_dataclass(items[0]) else None


def _refuse_unknown(values: dict[str, Any], kind: Any, prefix: str, source: str) -> None:
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(_unknown(f'{source}: {prefix}{key}', str(key), list(hints)))
        inner = _item_dataclass(hints[key])
        if inner is not None:
            for item in value if isinstance(value, list) else [value]:
                if not isinstance(item, dict):
                    raise ConfigError(
                        f'{source}: {prefix}{key} is {item!r} but must be a mapping of '
                        f'{", ".join(get_type_hints(inner))}; correct it'
                    )
                _refuse_unknown(item, inner, f'{prefix}{key}.', source)


def _refuse_unknown_options(overrides: Sequence[str]) -> None:
    for word in overrides:
        if not word.startswith('--'):
            continue
        parts = re.split(r'=', word[2:], maxsplit=1)[0].split('.')
        kind: Any = Config
        for index, part in enumerate(parts):
            hints = get_type_hints(kind) if kind is not None else {}
            if part.rstrip('+') not in hints:
                name = '--' + '.'.join(parts[: index + 1])
                raise ConfigError(_unknown(name, part, list(hints)))
            kind = _item_dataclass(hints[part.rstrip('+')])


def _unknown(name: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f'did you mean {close[0]!r}?' if close else f'known keys are {", ".join(known)}'
    return f'{name} is not a known key; {hint}'


def _one_sentence(error: Exception, path: Path | None) -> str:
    """Shorten jsonargparse's message to key, value and what was expected."""
    text = ' '.join(str(error).split())
    where = 'the command line' if path is None else f'{path} or the command line'
    match = re.search(r'key "([^"]+)": (.*?)\.? Got value: (.*)$', text)
    if match:
        key, expected, value = match.groups()
        expected = re.sub(r"<class '(\w+)'>", r'\1', expected).replace('typing.', '')
        return f'{key} is {value!r} in {where}; {expected[0].lower()}{expected[1:]}'
    return f'{text} ({where}); correct it'
