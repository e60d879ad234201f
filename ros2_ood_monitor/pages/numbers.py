"""How numbers are written on pages and in tables; None, NaN and infinity are "not measured"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

NOTHING = '–'


def percent(value: float | None) -> str:
    """Return a share in 0..1 in percent with one decimal, without the sign: 0.9712 is '97.1'."""
    return f'{100 * value:.1f}'.replace('-', '−') if _known(value) else NOTHING


def interval(bounds: Sequence[float | None] | None) -> str:
    """Return (low, high) in 0..1 as '96.4–97.8' in percent; '' where a bound is missing."""
    return '–'.join(map(percent, bounds)) if bounds and all(map(_known, bounds)) else ''


def three_digits(value: float | None) -> str:
    """Return milliseconds or seconds with at most three digits: 4.27, 41.2, 1350."""
    return (
        f'{value:.{2 if value < 10 else 1 if value < 100 else 0}f}' if _known(value) else NOTHING
    )


def coordinate(value: float) -> str:
    """Return a coordinate with one decimal at most."""
    return f'{value:.1f}'.removesuffix('.0')


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
