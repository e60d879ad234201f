"""Settings: a frozen dataclass per component, with limits and help beside every field.

A field made by `setting` knows its range, and a class under `settings` refuses values outside it.
Help, commented YAML and error sentences are all written from what the fields know.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

METADATA = 'setting'
REQUIRED: Any = dataclasses.MISSING
"""Default of a setting that must be given."""
Kind = TypeVar('Kind')
REMEDY = 'correct it in the configuration or on the command line'
WORDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}


class ConfigError(ValueError):
    """A configuration value is unknown or out of range; the sentence names key, value, range."""


@dataclass(frozen=True)
class Setting:
    """What is known of a field beyond its type and default.

    Of a field with several numbers the limits are those of each.
    """

    help: str
    low: float | None = None
    """Least value."""
    high: float | None = None
    """Greatest value."""
    above: float | None = None
    """The value must be greater than this."""
    multiple: int = 1
    choices: tuple[str, ...] = ()
    """What text may be, where the type does not say it."""
    null: str = ''
    """What null stands for."""
    derived: str = ''
    """What an absent key is worked out from, where the default is not always the same."""


def setting(default: Any, help: str, **known: Any) -> Any:
    """Return a dataclass field with a default; `known` are the other fields of `Setting`."""
    metadata = {METADATA: Setting(help, **known)}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def settings(section: str = '') -> Callable[[type[Kind]], type[Kind]]:
    """Make a dataclass refuse values out of range; stands below `@dataclass(frozen=True)`.

    The sentence of its ConfigError names a key as section.key. A `__post_init__` of the class, for
    rules between its fields, runs afterwards. (A base class will not do: jsonargparse reads a
    dataclass that has one as the name of a class to import.)
    """

    def decorate(kind: type[Kind]) -> type[Kind]:
        own_rules = vars(kind).get('__post_init__')

        def refuse(self: Any) -> None:
            check_ranges(kind, vars(self), section)
            if own_rules is not None:
                own_rules(self)

        kind.__post_init__ = refuse  # type: ignore[attr-defined]
        return kind

    return decorate


def check_ranges(kind: Any, values: Mapping[str, Any], section: str) -> None:
    """Raise ConfigError unless the values are in the ranges of the fields of `kind`."""
    hints = get_type_hints(kind)
    for each in dataclasses.fields(kind):
        known = each.metadata.get(METADATA)
        if known is not None and each.name in values:
            value, hint = values[each.name], hints[each.name]
            # jsonargparse lets null pass where it knows no default.
            null = value is None and NoneType not in _kinds(hint)
            if null or not (_in_range(known, value) and _is_choice(hint, known, value)):
                raise refusal(section, each.name, value, hint, known)


def refusal(section: str, key: str, value: Any, hint: Any, known: Setting | None) -> ConfigError:
    """Return the error that names `section.key`, its value, what is allowed, and what is close."""
    choices = _choices(hint, known)
    words = [str(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
    close = [
        match
        for word in words
        if word not in choices
        for match in difflib.get_close_matches(word, choices, n=1)
    ]
    remedy = f'did you mean {close[0]!r}?' if close else REMEDY
    name = f'{section}.{key}' if section else key
    value = list(value) if isinstance(value, tuple) else value
    return ConfigError(f'{name} is {value!r} but must be {allowed(hint, known)}; {remedy}')


def check(section: str, key: str, value: Any, ok: bool, allowed: str) -> None:
    """Raise ConfigError naming `section.key`, its value and what is allowed, unless `ok`."""
    if not ok:
        name = f'{section}.{key}' if section else key
        value = list(value) if isinstance(value, tuple) else value
        raise ConfigError(f'{name} is {value!r} but must be {allowed}; {REMEDY}')


def _in_range(known: Setting, value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_in_range(known, item) for item in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low = -math.inf if known.low is None else known.low
    high = math.inf if known.high is None else known.high
    above = -math.inf if known.above is None else known.above
    # Not a number fails every comparison, infinity the last one.
    fits = known.multiple == 1 or value % known.multiple == 0
    return above < value and low <= value <= high and fits


def _is_choice(hint: Any, known: Setting, value: Any) -> bool:
    choices = _choices(hint, known)
    words = value if isinstance(value, tuple) else (value,)
    return not choices or all(not isinstance(word, str) or word in choices for word in words)


def _choices(hint: Any, known: Setting | None) -> tuple[str, ...]:
    """Return what text may be, empty if anything."""
    if known is not None and known.choices:
        return known.choices
    return next((get_args(kind) for kind in _kinds(hint) if get_origin(kind) is Literal), ())


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def allowed(hint: Any, known: Setting | None) -> str:
    """Say what a field of type `hint` may be, as it follows "must be"."""
    kinds = _kinds(hint)
    texts = [_allowed(kind, known) for kind in kinds if kind is not NoneType]
    return ' or '.join(['null'] * (NoneType in kinds) + texts)


def _allowed(kind: Any, known: Setting | None) -> str:
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if Ellipsis not in items:
            return f'{len(items)} numbers{_limits(known)}'
        if dataclasses.is_dataclass(items[0]):
            return 'a list of mappings'
        return f'a list, each item {_allowed(items[0], known)}'
    if choices := _choices(kind, known):
        return f'one of {", ".join(map(str, choices))}'
    if known is not None and known.multiple > 1:
        return f'a multiple of {known.multiple}{_limits(known)}'
    return WORDS.get(kind, 'a mapping') + _limits(known)


def _limits(known: Setting | None) -> str:
    if known is None:
        return ''
    low, high, above = known.low, known.high, known.above
    if above is not None:
        return f' above {above:g}' + ('' if high is None else f' and at most {_number(high)}')
    if low is not None and high is not None:
        return f' between {_number(low)} and {_number(high)}'
    if low is not None:
        return f' of at least {_number(low)}'
    return '' if high is None else f' of at most {_number(high)}'


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f'{value:g}'


def item_settings(hint: Any) -> Any:
    """Return the dataclass a field of this type holds, alone or as items, else None."""
    items = {tuple: get_args(hint)[:1], dict: get_args(hint)[1:]}.get(get_origin(hint), (hint,))
    return items[0] if items and dataclasses.is_dataclass(items[0]) else None


def to_dict(values: Any) -> Any:
    """Turn settings into plain YAML and JSON values, tuples as lists."""
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        return {f.name: to_dict(getattr(values, f.name)) for f in dataclasses.fields(values)}
    return [to_dict(item) for item in values] if isinstance(values, tuple) else values
