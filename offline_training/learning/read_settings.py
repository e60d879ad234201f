"""Read settings from YAML and the command line, and refuse what is unknown by name."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from offline_training.learning.settings import (
    METADATA,
    REQUIRED,
    ConfigError,
    check_ranges,
    item_settings,
    refusal,
)

Kind = TypeVar('Kind')


def given_values(kind: type[Any], path: Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of a YAML file and of dotted options, nested; nothing is filled in.

    Raises:
        ConfigError: the file is missing or no YAML, or a key or the type of a value is wrong.
    """
    values = read_yaml(path) if path is not None else {}
    refuse_unknown(values, kind, str(path))
    _refuse_unknown_options(overrides, kind)
    parser = _parser(kind)  # type: ignore[arg-type]
    with _Sentences(kind):
        from_file = parser.parse_object(values, defaults=False)
        parsed = parser.parse_args(list(overrides), namespace=from_file, defaults=False)
    return _plain(parsed)


def build(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Return the settings with these nested values; the others are the defaults of the fields.

    Raises:
        ConfigError: a value is missing, has the wrong type or is out of range.
    """
    _refuse_missing(kind, values, '')
    parser = _parser(kind)  # type: ignore[arg-type]
    with _Sentences(kind):
        parsed = parser.parse_object(dict(values), defaults=False)
    return _instance(kind, _plain(parsed), '')


def check_keywords(kind: type[Any], values: Mapping[str, Any], where: str) -> None:
    """Refuse keywords that the constructor of a class does not take, and values of other types.

    Raises:
        ConfigError: the sentence names the keyword as where.keyword.
    """
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(kind, fail_untyped=False)
    known = sorted(action.dest for action in parser._actions)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(
                _unknown(f'{where}.{key}', key, known)
                if known
                else f'{where}.{key} is not a known key: there is nothing to set; remove it'
            )
        try:
            parser.parse_object({key: value}, defaults=False)
        except (ArgumentError, TypeError, ValueError) as error:
            reason = re.sub(
                r'.*?(Expected.*?)\.? Got value.*', r'\1', ' '.join(str(error).split())
            )
            reason = re.sub(r"<class '(\w+)'>", r'\1', reason).replace('typing.', '')
            raise ConfigError(f'{where}.{key} is {value!r}: {reason}; correct it') from None


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


def suggestion(word: str, known: Sequence[str], otherwise: str = 'known are') -> str:
    """Return "did you mean 'x'?" if a known word is close, else the list of them."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f'did you mean {close[0]!r}?' if close else f'{otherwise} {", ".join(known)}'


@cache
def _parser(kind: Any) -> ArgumentParser:
    parser = ArgumentParser(prog='offline_training', exit_on_error=False, add_help=False)
    for name, hint in get_type_hints(kind).items():
        parser.add_argument(f'--{name}', type=hint)
    return parser


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, '__dict__'):
        value = vars(value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _instance(kind: type[Kind], values: Mapping[str, Any], path: str) -> Kind:
    hints = _fields(kind)
    built: dict[str, Any] = {}
    for key, value in values.items():
        inner, at = item_settings(hints[key]), f'{path}.{key}' if path else key
        if isinstance(value, list):
            built[key] = tuple(_instance(inner, each, at) if inner else each for each in value)
        elif inner is not None and get_origin(hints[key]) is dict:
            built[key] = {n: _instance(inner, each, f'{at}.{n}') for n, each in value.items()}
        else:
            built[key] = value if inner is None else _instance(inner, value, at)
    check_ranges(kind, built, path)
    return kind(**built)


def _refuse_missing(kind: type[Any], values: Mapping[str, Any], path: str) -> None:
    """Raise ConfigError if a key without a default is not there, here or further in."""
    missing = [
        each.name
        for each in dataclasses.fields(kind)
        if each.default is each.default_factory is REQUIRED and each.name not in values
    ]
    if missing:
        raise ConfigError(f'{path or "the configuration"} lacks {", ".join(missing)}; add it')
    for key, hint in _fields(kind).items():
        value, inner = values.get(key), item_settings(hint)
        at = f'{path}.{key}' if path else key
        if inner is None:
            continue
        items = {at: value}
        if isinstance(value, Mapping) and get_origin(hint) is dict:
            items = {f'{at}.{name}': each for name, each in value.items()}
        for place, item in items.items():
            if isinstance(item, Mapping):
                _refuse_missing(inner, item, place)


def _fields(kind: type[Any] | None) -> dict[str, Any]:
    """Return the types of the fields by name."""
    return {} if kind is None else get_type_hints(kind)


def refuse_unknown(values: Mapping[str, Any], kind: type[Any], at: str, prefix: str = '') -> None:
    """Raise ConfigError for a key that `kind` does not have; the sentence begins with `at`."""
    hints = _fields(kind)
    for key, value in values.items():
        name = f'{prefix}{key}'
        if key not in hints:
            raise ConfigError(_unknown(f'{at}: {name}', str(key), list(hints)))
        inner = item_settings(hints[key])
        if inner is None:
            continue
        items = [(name, item) for item in (value if isinstance(value, list) else [value])]
        if get_origin(hints[key]) is dict and isinstance(value, Mapping):
            items = [(f'{name}.{own}', item) for own, item in value.items()]
        for place, item in items:
            _refuse_in(item, inner, at, place)


def _refuse_in(value: Any, kind: type[Any], at: str, name: str) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f'{at}: {name} is {value!r} but must be a mapping of {", ".join(_fields(kind))}; '
            'correct it'
        )
    refuse_unknown(value, kind, at, f'{name}.')


def _refuse_unknown_options(overrides: Sequence[str], kind: type[Any]) -> None:
    for word in overrides:
        if not word.startswith('--'):
            continue
        parts = re.split(r'=', word[2:], maxsplit=1)[0].split('.')
        inner: type[Any] | None = kind
        for index, part in enumerate(parts):
            hints = _fields(inner)
            if part.rstrip('+') not in hints:
                raise ConfigError(_unknown('--' + '.'.join(parts[: index + 1]), part, list(hints)))
            inner = item_settings(hints[part.rstrip('+')])


def _unknown(name: str, key: str, known: list[str]) -> str:
    return f'{name} is not a known key; {suggestion(key, known, "known keys are")}'


class _Sentences:
    """Turn jsonargparse's messages into one sentence with key, value and what is allowed."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ConfigError) or not isinstance(
            error, (ArgumentError, TypeError, ValueError)
        ):
            return
        text = ' '.join(str(error).split())
        keys = re.findall(r'Parser key "([^"]+)"', text)
        value = re.search(r'(?:Got|Given) value: (.*)$', text)
        if not keys or value is None:
            raise ConfigError(f'{text}; correct it') from None
        hint, known, name = self._field('.'.join(keys).split('.'))
        section, _, key = name.rpartition('.')
        raise refusal(section, key, value[1], hint, known) from None

    def _field(self, parts: Sequence[str]) -> tuple[Any, Any, str]:
        """Return type, `Setting` and full name of a dotted key."""
        kind: Any = self.kind
        hint, known = None, None
        for part in parts:
            if get_origin(hint) is dict:
                hint = None  # `part` is a name that the user chose
                continue
            hint = _fields(kind)[part]
            known = {f.name: f for f in dataclasses.fields(kind)}[part].metadata.get(METADATA)
            kind = item_settings(hint)
        return hint, known, '.'.join(parts)
