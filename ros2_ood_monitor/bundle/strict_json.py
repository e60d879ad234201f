"""JSON objects read strictly: every missing, unknown or ill-typed key is named when refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ros2_ood_monitor.printable import is_printable

Read = TypeVar('Read')

TINY = 1e-12
"""Smallest accepted standard deviation, tolerance and threshold: positive, not zero."""


class JsonError(ValueError):
    """A JSON document that does not follow its schema; the message names the key."""


class Section:
    """One JSON object; with `keys`, exactly those are allowed, and `may` be there."""

    def __init__(
        self,
        path: str,
        value: object,
        keys: Iterable[str] | None = None,
        may: Iterable[str] = (),
    ) -> None:
        self._path = path
        if not isinstance(value, dict):
            raise self._wrong('', f'must be an object, not {value!r:.40}')
        self.value: dict[str, Any] = value
        if keys is None:
            return
        needed = set(keys)
        known = needed | set(may)
        for key in sorted(needed - value.keys()):
            raise self._wrong(key, 'is missing')
        for key in sorted(value.keys() - known):
            raise self._wrong(key, f'is unknown; known here are {", ".join(sorted(known))}')

    def section(
        self, key: str, keys: Iterable[str] | None = None, may: Iterable[str] = ()
    ) -> Section:
        """Return the object under `key`."""
        return Section(self._join(key), self.value[key], keys, may)

    def sections(self, key: str, keys: Iterable[str], least: int = 1) -> list[Section]:
        """Return the list of at least `least` objects under `key`; empty where it is absent."""
        allowed = tuple(keys)
        return [
            Section(f'{self._join(key)}[{index}]', value, allowed)
            for index, value in enumerate(self.items(key, least))
        ]

    def items(self, key: str, least: int = 1) -> list[Any]:
        """Return the list of at least `least` values under `key`; empty where it is absent."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or len(value) < least:
            what = 'a non-empty list' if least else 'a list'
            raise self._wrong(key, f'must be {what}, not {value!r:.40}')
        return value

    def text(self, key: str, choices: Iterable[str] = ()) -> str:
        """Return the non-empty string under `key`, one of `choices` if given."""
        value, allowed = self.value[key], tuple(choices)
        if not isinstance(value, str) or not value or (allowed and value not in allowed):
            wanted = f'one of {", ".join(allowed)}' if allowed else 'a non-empty string'
            raise self._wrong(key, f'must be {wanted}, not {value!r:.40}')
        if not is_printable(value):
            raise self._wrong(key, f'must hold printable characters only, not {value!r:.40}')
        return value

    def boolean(self, key: str) -> bool:
        """Return the true or false under `key`."""
        value = self.value[key]
        if not isinstance(value, bool):
            raise self._wrong(key, f'must be true or false, not {value!r:.40}')
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return the finite number in [low, high] under `key`."""
        return self._number(key, self.value[key], low, high)

    def integer(self, key: str, low: int, high: int = (1 << 31) - 1) -> int:
        """Return the whole number in [low, high] under `key`."""
        value = self.value[key]
        number = self._number(key, value, low, high)
        if not number.is_integer():
            raise self._wrong(key, f'must be a whole number, not {value!r:.40}')
        return int(number)

    def numbers(
        self,
        key: str,
        length: int | None = None,
        low: float = -math.inf,
        high: float = math.inf,
    ) -> tuple[float, ...]:
        """Return the non-empty list of finite numbers in [low, high] under `key`."""
        values = self.items(key)
        if length is not None and len(values) != length:
            raise self._wrong(key, f'must hold {length} numbers, not {len(values)}')
        return tuple(self._number(key, value, low, high) for value in values)

    def optional(self, key: str, read: Callable[[str], Read]) -> Read | None:
        """Return what `read` makes of `key`, None for null and where it is absent."""
        return None if self.value.get(key) is None else read(key)

    def check(self, key: str, holds: bool, what: str) -> None:
        """Raise JsonError saying `key` and `what` unless `holds`."""
        if not holds:
            raise self._wrong(key, what)

    def _number(self, key: str, value: object, low: float, high: float) -> float:
        # bool is an int in Python, never in a manifest.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(key, f'must be a number, not {value!r:.40}')
        if not (math.isfinite(value) and low <= value <= high):
            raise self._wrong(key, f'must be between {low:g} and {high:g}, not {value!r:.40}')
        return float(value)

    def _join(self, key: str) -> str:
        return '.'.join(part for part in (self._path, key) if part)

    def _wrong(self, key: str, what: str) -> JsonError:
        return JsonError(f'{self._join(key)} {what}')
