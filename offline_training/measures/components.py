"""Component level sIoU, PPV and F1 of anomaly masks (Chan et al. 2021, SegmentMeIfYouCan).

A component is a connected region (8 neighbours) of anomalous ground truth or of prediction;
positive = anomaly. For a true component k, with the predicted components that touch it and
without the pixels that belong to other true components:

    sIoU(k) = |k and prediction| / |k or touching prediction, less other true components|

so that one prediction over two neighbours is not punished for covering both. For a predicted
component p, PPV(p) = |p and truth| / |p|. At a level t a true component is found (TP) when
sIoU > t and missed (FN) otherwise; a prediction is false (FP) when PPV <= t;
F1(t) = 2 TP / (2 TP + FN + FP), averaged over t = 0.25, 0.30 .. 0.75. These comparisons are made
in integers; the benchmark's own code decides an exact tie the other way.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.data.base import VOID

PERCENT = np.arange(25, 80, 5)
_LEVELS = len(PERCENT)
_FIXED = 4


class MinimumSize(NamedTuple):
    """Pixels below which a predicted component vanishes and a true one becomes ignored."""

    predicted: int
    truth: int


ANOMALY_TRACK = MinimumSize(500, 100)
OBSTACLE_TRACK = MinimumSize(50, 10)


class ComponentScores:
    """Streaming, mergeable component measures; all state is one vector of sums.

    Args:
        minimum: smallest components. The default is that of the SegmentMeIfYouCan anomaly track
            with images of one to two megapixels; scale it with the area of smaller ones.
    """

    def __init__(self, minimum: MinimumSize = ANOMALY_TRACK) -> None:
        self.minimum = minimum
        # True components, their sIoU, predicted components, their PPV, then TP and FP per level.
        self.sums: NDArray[np.float64] = np.zeros(_FIXED + 2 * _LEVELS)

    def update(self, predicted: NDArray[np.bool_], labels: NDArray[np.integer]) -> None:
        """Add one image: mask (H, W) and labels (H, W), 1 = anomaly, 0 = normal, 255 = ignored.

        The mask is `score >= t`, usually with t from `DetectionCurve.best_f1_threshold`. Ignored
        pixels are taken out of the mask before its components are formed.

        Raises:
            ValueError: shapes differ, a map is not (H, W), or a label is none of 0, 1, 255.
        """
        if predicted.shape != labels.shape or labels.ndim != 2 or not labels.size:
            raise ValueError(
                f'mask {predicted.shape} and labels {labels.shape} must be equal and (H, W), not '
                'empty'
            )
        unknown = np.setdiff1d(labels, (0, 1, VOID))
        if unknown.size:
            raise ValueError(
                f'label {unknown[0]} is none of 0 (normal), 1 (anomaly) and 255 (ignored)'
            )
        counted = labels != VOID
        truth, _ = _components(labels == 1)
        guess, guesses = _components(predicted.astype(bool) & counted)
        small = np.bincount(guess.ravel()) < self.minimum.predicted
        small[0] = False
        guess[small[guess]] = 0
        # A true component too small to count takes its pixels out of the predictions, too.
        tiny = np.bincount(truth.ravel()) < self.minimum.truth
        tiny[0] = False
        counted &= ~tiny[truth]
        pairs = truth[counted].astype(np.int64) * guesses + guess[counted]
        overlap = np.bincount(pairs, minlength=len(tiny) * guesses).reshape(len(tiny), guesses)
        self.sums += _sums(overlap)

    def merge(self, other: ComponentScores) -> None:
        """Add the images of another one with the same minimum size."""
        if self.minimum != other.minimum:
            raise ValueError(
                f'minimum sizes {self.minimum} and {other.minimum} differ; they must agree'
            )
        self.sums += other.sums

    def siou(self) -> float:
        """Return the mean sIoU over true components in 0..1; NaN when there is none."""
        return float(self.sums[1] / self.sums[0]) if self.sums[0] else float('nan')

    def ppv(self) -> float:
        """Return the mean PPV over predicted components in 0..1; NaN when there is none."""
        return float(self.sums[3] / self.sums[2]) if self.sums[2] else float('nan')

    def f1(self) -> NDArray[np.float64]:
        """Return F1 in 0..1 per level of `PERCENT`, (11,); NaN without any component."""
        found, false = self.sums[_FIXED : _FIXED + _LEVELS], self.sums[_FIXED + _LEVELS :]
        missed = self.sums[0] - found
        with np.errstate(invalid='ignore'):
            return np.asarray(2 * found / (2 * found + missed + false))

    def mean_f1(self) -> float:
        """Return F1 averaged over the levels, in 0..1; NaN without any component."""
        return float(self.f1().mean())

    def report(self) -> dict[str, float]:
        """Return siou, ppv and mean_f1 in 0..1, positive = anomaly."""
        return {'siou': self.siou(), 'ppv': self.ppv(), 'mean_f1': self.mean_f1()}


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the component number of every pixel, 0 outside, and the count of numbers."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(numbers), count


def _sums(overlap: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sums of one image from pixels per (true, predicted) component; 0 is none."""
    sizes = overlap.sum(axis=1)[1:]
    hits = overlap[1:, 1:].sum(axis=1)
    # The adjusted union: a prediction adds only what lies on no true component at all.
    union = sizes + (overlap[1:, 1:] > 0) @ overlap[0, 1:]
    counted = sizes > 0
    hits, union = hits[counted], union[counted]
    areas = overlap.sum(axis=0)[1:]
    correct = overlap[1:, 1:].sum(axis=0)[areas > 0]
    areas = areas[areas > 0]
    return np.concatenate(
        [
            [len(hits), np.sum(hits / union), len(areas), np.sum(correct / areas)],
            np.sum(100 * hits > PERCENT[:, None] * union, axis=1),
            np.sum(100 * correct <= PERCENT[:, None] * areas, axis=1),
        ]
    ).astype(np.float64)
