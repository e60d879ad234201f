"""A large coloured table: rows by name, columns in groups, one of several measures shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heat:
    """One value of a cell."""

    text: str
    strength: float
    """How strongly it is coloured, 0..100."""
    best: bool = False
    """Among the best of its column."""
    low: bool = False
    """Coloured as a warning."""


@dataclass(frozen=True)
class HeatColumn:
    """Cells by the name of their row; each has one value per choice, None = not measured."""

    label: str
    title: str
    """Shown while the pointer rests on the head; '' = nothing."""
    cells: Mapping[str, Sequence[Heat | None]]
    warnings: Mapping[str, str] = field(default_factory=dict)
    """By the name of the row: what is wrong with the cell."""


@dataclass(frozen=True)
class HeatTable:
    """What `heat.html` draws; `notes` is a plain column behind the names."""

    anchor: str
    """Unlike that of any other table or section of the page."""
    choices: Sequence[str]
    """Names of the values in each cell, three at most; the first is shown at first."""
    name_label: str
    note_label: str
    notes: Mapping[str, str]
    """By the name of the row, in the order of the rows."""
    groups: Mapping[str, Sequence[HeatColumn]]
