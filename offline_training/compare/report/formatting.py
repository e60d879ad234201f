"""How numbers are written in tables and reports."""

from __future__ import annotations

import math
from html import escape
from typing import Any

NOTHING = '–'


def finite(value: Any) -> float | None:
    """Return the value as a float, or None where it is missing, NaN or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def percent(value: Any) -> str:
    """Return a share in 0..1 in percent with one decimal, without the sign: 0.9712 is '97.1'."""
    number = finite(value)
    return NOTHING if number is None else f'{100 * number:.1f}'


def breakable(name: str) -> str:
    """Return a name as HTML that may be broken after an underscore."""
    return escape(name).replace('_', '_<wbr>')


def interval(bounds: Any) -> str:
    """Return [low, high] in 0..1 as '96.4–97.8' in percent; '' where a bound is missing."""
    if not bounds or any(finite(bound) is None for bound in bounds):
        return ''
    low, high = bounds
    return f'{percent(low)}–{percent(high)}'


def three_digits(value: Any) -> str:
    """Return milliseconds or seconds with at most three digits: 4.27, 41.2, 1350."""
    number = finite(value)
    if number is None:
        return NOTHING
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return f'{number:.{decimals}f}'
