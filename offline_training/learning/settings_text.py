"""What settings say of themselves: the list in `--help`, and a commented YAML file."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from offline_training.learning.settings import (
    METADATA,
    REQUIRED,
    Setting,
    allowed,
    item_settings,
    to_dict,
)

COLUMNS = 79


def help_text(kind: type[Any]) -> str:
    """Return every key as an option with meaning, range and default, one group per section."""
    return '\n'.join(_groups(kind, '', 'experiment'))


def commented_yaml(values: Any) -> str:
    """Return all values as YAML, with meaning, range and default above every key."""
    return '\n'.join(_yaml(values, '')) + '\n'


def add_options(
    parser: argparse.ArgumentParser, kind: type[Any], keys: Sequence[str], prefix: str = ''
) -> None:
    """Add options `--prefix-key` for some keys of settings, which hold one number each."""
    hints = get_type_hints(kind)
    defaults = {each.name: each.default for each in dataclasses.fields(kind)}
    for key in keys:
        required = defaults[key] is REQUIRED
        parser.add_argument(
            '--' + f'{prefix}{key}'.replace('_', '-'),
            type=hints[key],
            metavar='N' if hints[key] is int else 'X',
            required=required,
            default=None if required else defaults[key],
            help=meaning(kind, key).replace('%', '%%'),
        )


def meaning(kind: type[Any], key: str) -> str:
    """Say what a key means, what it may be and what it is if absent, in one or more sentences."""
    field = {each.name: each for each in dataclasses.fields(kind)}[key]
    known: Setting = field.metadata[METADATA]
    hint = get_type_hints(kind)[key]
    text = known.help
    if item_settings(hint) is None:
        choice = allowed(hint, known)
        text += f' {choice[0].upper()}{choice[1:]}'
        if field.default is not REQUIRED:
            text += f'; default: {known.derived or _value(field.default)}'
        text += '.'
        if known.null:
            text += f' Null: {known.null}.'
    return text


def _value(value: Any) -> str:
    """Write a value as it is typed on the command line."""
    plain = to_dict(value)
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).split('\n...')[0].strip()


def _fields(kind: type[Any]) -> Iterator[tuple[str, type[Any] | None, bool]]:
    """Yield the name of every field, what settings it holds, and whether in a list."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        yield field.name, item_settings(hint), get_origin(hint) is tuple and bool(get_args(hint))


def _groups(kind: type[Any], prefix: str, title: str) -> list[str]:
    lines = [f'{title}:', *_wrapped((kind.__doc__ or '').split('\n')[0], '  ')]
    nested: list[str] = []
    for name, inner, several in _fields(kind):
        key = f'{prefix}{name}'
        if inner is None:
            lines += [f'  --{key} VALUE', *_wrapped(meaning(kind, name), ' ' * 8)]
        elif not several:
            nested += ['', *_groups(inner, f'{key}.', key)]
        else:
            lines += [f'  --{key} "[{{KEY: VALUE, ...}}, ...]"']
            lines += _wrapped(f'{meaning(kind, name)} A list, each item with the keys', ' ' * 8)
            for item, _, _ in _fields(inner):
                lines += [f'{" " * 8}{item}', *_wrapped(meaning(inner, item), ' ' * 12)]
    return lines + nested


def _yaml(values: Any, indent: str) -> list[str]:
    lines: list[str] = []
    for name, inner, several in _fields(type(values)):
        value = getattr(values, name)
        text = meaning(type(values), name)
        if inner is not None and not several:
            text = (inner.__doc__ or '').split('\n')[0]
            lines += ['', *_wrapped(text, f'{indent}# '), f'{indent}{name}:']
            lines += _yaml(value, f'{indent}  ')
            continue
        lines += _wrapped(text, f'{indent}# ')
        if inner is None:
            lines.append(f'{indent}{name}: {_value(value)}')
            continue
        lines.append(f'{indent}{name}:')
        for number, item in enumerate(value):
            # The keys mean the same in every item.
            body = _yaml(item, f'{indent}    ')
            body = body if number == 0 else [line for line in body if not _is_comment(line)]
            lines += [f'{indent}  -', *body]
    return lines


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith('#')


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
