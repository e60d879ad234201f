"""One runtime parameter: its type, range and meaning, and how a value of it is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Value = bool | int | float | str


class ParameterError(ValueError):
    """A parameter that is unknown, of the wrong type or out of range."""


@dataclass(frozen=True)
class Parameter:
    """One runtime parameter; its type is the type of `default`."""

    name: str
    """Dots make groups, as in ROS."""
    default: Value
    description: str
    unit: str = ''
    minimum: float = -math.inf
    maximum: float = math.inf
    choices: tuple[str, ...] = ()
    read: Callable[[str], object] | None = None
    """Raises ValueError, saying what it must be, for a text that is out of order."""
    live: bool = False
    """May be changed while the monitor runs."""

    def check(self, value: object, source: str = '') -> Value:
        """Return `value` as this parameter's type.

        Raises ParameterError naming the parameter and, if given, the `source` of the value.
        """
        place = f' in {source}' if source else ''
        wanted = type(self.default)
        # YAML and people write 1 for 1.0; bool is an int in Python but never meant as one.
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not wanted or not isinstance(value, (bool, int, float, str)):
            raise ParameterError(f'{self.name}{place} must be {self.kind}, not {value!r:.60}')
        if self.choices and value not in self.choices:
            raise ParameterError(
                f'{self.name}{place} must be one of {", ".join(self.choices)}, not {value!r:.60}'
            )
        if isinstance(value, (int, float)) and not self.minimum <= value <= self.maximum:
            raise ParameterError(f'{self.name}{place} must be {self.range}, not {value!r:.60}')
        if self.read is not None and isinstance(value, str):
            try:
                self.read(value)
            except ValueError as error:
                raise ParameterError(f'{self.name}{place} {error}, not {value!r:.60}') from error
        return value

    @property
    def kind(self) -> str:
        """The type in words."""
        return {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}[
            type(self.default)
        ]

    @property
    def range(self) -> str:
        """The allowed values in words; empty if any will do."""
        if self.choices:
            return ', '.join(self.choices)
        if math.isinf(self.minimum):
            return ''
        if math.isinf(self.maximum):
            return f'at least {self.minimum:.9g}'
        return f'{self.minimum:.9g} to {self.maximum:.9g}'
