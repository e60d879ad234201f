"""Which training sequences are left out of fits, so that something normal is left to calibrate on.

What was fitted on a sequence calls it more usual than any other will ever be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from offline_training.detectors.base import Detector
from offline_training.learning.store import read_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import FILES

LEAST_FRAMES = 10
"""A shorter sequence is left out of no fit: it would say nothing about others."""


def sequence_names(context: Context) -> list[str]:
    """Return the sequence of every training frame; '' where that is not known."""
    frames = context.train_data
    return [frames.sequence(index) for index in range(len(frames))]


def long_sequences(names: Sequence[str]) -> dict[str, int]:
    """Return the frames of each sequence that can be left out of a fit, of names (N,) of frames.

    Nothing, if there are fewer than two: no frame would be left to fit on.
    """
    counts = {name: names.count(name) for name in dict.fromkeys(names) if name}
    long = {name: count for name, count in counts.items() if count >= LEAST_FRAMES}
    return long if len(long) > 1 else {}


def left_out_groups(names: Sequence[str], fits: int) -> list[list[str]]:
    """Return the sequences that each of at most `fits` fits is to leave out.

    Each group has about as many frames as another.
    """
    counts = long_sequences(names)
    groups: list[list[str]] = [[] for _ in range(min(fits, len(counts)))]
    if groups:
        for name in sorted(counts, key=lambda each: -counts[each]):
            min(groups, key=lambda group: sum(counts[each] for each in group)).append(name)
    return groups


def left_out_file(context: Context, kind: type[Detector], number: int) -> Path:
    """Return where the detector of this class is stored that fit `number` has given."""
    return context.output_dir / 'left_out' / str(number) / FILES[kind]


def stored_groups(context: Context) -> list[list[str]]:
    """Return the sequences that each fit of the stage `left_out` has not seen."""
    groups: list[list[str]] = read_json(context.output_dir / 'left_out.json')['groups']
    return groups
