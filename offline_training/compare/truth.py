"""What counts as anomalous: the questions that are asked of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.compare.source import Source, SourceFrame
from offline_training.data.base import VOID, labels_at_size
from ros2_ood_monitor.frame import UInt8Array

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
    truth: Sequence[UInt8Array] = ()
    classes: Sequence[UInt8Array] = ()

    @property
    def level(self) -> Literal['pixel', 'frame']:
        """Return what a sample is."""
        return 'frame' if self.heading in ('objects', 'natural', 'attack') else 'pixel'


class LabelImages(Sequence[UInt8Array]):
    """Images uint8 (H, W) of labels, made when first read and kept as PNG: 1 % of their size."""

    def __init__(self, count: int, make: Callable[[int], UInt8Array]) -> None:
        self._make = make
        self._kept: list[UInt8Array | None] = [None] * count

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: Any) -> Any:
        kept = self._kept[index]
        if kept is None:
            made = self._make(index)
            self._kept[index] = np.asarray(cv2.imencode('.png', made)[1], dtype=np.uint8)
            return made
        return cv2.imdecode(kept, cv2.IMREAD_UNCHANGED)


def pixel_questions(
    source: Source, predictions: Callable[[], NDArray[np.uint8]], num_classes: int
) -> list[Question]:
    """Return what can be asked of the maps of a source: unknown objects, errors of the network.

    `predictions` reads the labels (N, H, W) that the network gave.
    """
    questions = []
    if 'unknown' in source.truth:
        questions.append(
            Question(
                source.name,
                source.name,
                'pixel',
                'positive = pixel of an unknown object, void ignored, all pixels pooled; '
                'components at the threshold of best F1 on this set (SegmentMeIfYouCan)',
                truth=LabelImages(source.count, lambda index: _unknown(source.read(index))),
            )
        )
    if 'labels' not in source.truth:
        return questions
    read_predictions = cache(predictions)

    def classes(index: int) -> UInt8Array:
        labels = _labels(source.read(index))
        return np.where(labels == VOID, num_classes, labels).astype(np.uint8)

    def errors(index: int, void_counts: bool) -> UInt8Array:
        frame = source.read(index)
        labels = _labels(frame)
        guess = labels_at_size(read_predictions()[index], labels.shape)
        # No answer is right on an unknown object, nor, if it counts, on void.
        truth = ((labels != guess) | (labels == VOID)).astype(np.uint8)
        if not void_counts:
            known = True if frame.unknown is None else frame.unknown != 1
            truth[(labels == VOID) & known] = VOID
        return truth

    shared = LabelImages(source.count, classes)
    for suffix, void in (('errors', 'void is an error'), ('errors_no_void', 'void ignored')):
        questions.append(
            Question(
                f'{source.name}_{suffix}',
                source.name,
                'errors',
                f'normal = correctly segmented pixel, anomaly = error or unknown object, {void}, '
                'all pixels pooled; *_success measures have positive = correct (ObsNet)',
                truth=LabelImages(source.count, partial(errors, void_counts=suffix == 'errors')),
                classes=shared,
            )
        )
    return questions


def frame_question(source: Source, normal: Source) -> Question:
    """Ask whether frames of a source are told from normal ones."""
    return Question(
        f'{source.name}_frames' if source.truth else source.name,
        source.name,
        source.group,  # type: ignore[arg-type]
        f'positive = frame of {source.name} ({source.count}), negative = frame of {normal.name} '
        f'({normal.count})',
        every=source.every,
    )


def _unknown(frame: SourceFrame) -> UInt8Array:
    assert frame.unknown is not None
    return frame.unknown


def _labels(frame: SourceFrame) -> UInt8Array:
    assert frame.labels is not None
    return frame.labels
