"""What counts as anomalous: the questions that are asked of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offline_training.compare.sources import Source
from offline_training.data.base import VOID, labels_at_size

IGNORE = 255
Heading = Literal['pixel', 'errors', 'objects', 'natural', 'attack']


@dataclass(frozen=True, eq=False)
class Question:
    """A set of the table.

    Pixel level: `truth` uint8 (H, W) per frame, 1 anomalous, 0 normal, 255 ignored, and `classes`
    uint8 of the same shape, the true class or 255. Frame level: frames of `source` against those
    of the normal source.
    """

    name: str
    source: str
    heading: Heading
    protocol: str
    every: int = 0
    """Frame i of the source shows the scene of normal frame i * every; 0 = other scenes."""
    truth: tuple[NDArray[np.uint8], ...] = ()
    classes: tuple[NDArray[np.uint8], ...] = ()

    @property
    def level(self) -> Literal['pixel', 'frame']:
        """Return what a sample is."""
        return 'frame' if self.heading in ('objects', 'natural', 'attack') else 'pixel'


def pixel_questions(
    source: Source, predictions: Callable[[], NDArray[np.uint8]], num_classes: int
) -> list[Question]:
    """Return what can be asked of the maps of a source: unknown objects, errors of the network."""
    frames = [source.read(index) for index in range(source.count)]
    questions = []
    if all(frame.unknown is not None for frame in frames):
        questions.append(
            Question(
                source.name,
                source.name,
                'pixel',
                'positive = pixel of an unknown object, void ignored, all pixels pooled; '
                'components at the threshold of best F1 on this set (SegmentMeIfYouCan)',
                truth=tuple(frame.unknown for frame in frames if frame.unknown is not None),
            )
        )
    labels = [frame.labels for frame in frames if frame.labels is not None]
    if len(labels) < len(frames):
        return questions
    unknown = [
        np.zeros_like(own) if frame.unknown is None else frame.unknown
        for frame, own in zip(frames, labels, strict=True)
    ]
    classes = tuple(np.where(own == VOID, num_classes, own).astype(np.uint8) for own in labels)
    guesses = [
        labels_at_size(guess, own.shape) for guess, own in zip(predictions(), labels, strict=True)
    ]
    for suffix, void in (('errors', 'void is an error'), ('errors_no_void', 'void ignored')):
        questions.append(
            Question(
                f'{source.name}_{suffix}',
                source.name,
                'errors',
                f'normal = correctly segmented pixel, anomaly = error or unknown object, {void}, '
                'all pixels pooled; *_success measures have positive = correct (ObsNet)',
                truth=tuple(_errors(labels, guesses, unknown, void_counts=suffix == 'errors')),
                classes=classes,
            )
        )
    return questions


def frame_question(source: Source, normal: Source) -> Question:
    """Ask whether frames of a source are told from normal ones."""
    return Question(
        f'{source.name}_frames' if source.maps else source.name,
        source.name,
        source.group,  # type: ignore[arg-type]
        f'positive = frame of {source.name} ({source.count}), negative = frame of {normal.name} '
        f'({normal.count})',
        every=source.settings['every'] if source.group in ('natural', 'attack') else 0,
    )


def _errors(
    labels: Sequence[NDArray[np.uint8]],
    guesses: Sequence[NDArray[np.uint8]],
    unknown: Sequence[NDArray[np.uint8]],
    void_counts: bool,
) -> list[NDArray[np.uint8]]:
    """Return 1 where the network is wrong or cannot be right, 0 where right."""
    truths = []
    for own, guess, strange in zip(labels, guesses, unknown, strict=True):
        # No answer is right on an unknown object, nor, if it counts, on void.
        truth = ((own != guess) | (own == VOID)).astype(np.uint8)
        if not void_counts:
            truth[(own == VOID) & (strange != 1)] = IGNORE
        truths.append(truth)
    return truths
