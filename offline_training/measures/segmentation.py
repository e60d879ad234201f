"""Streaming confusion matrix and intersection over union under three void protocols.

The same predictions give different means depending on what happens to void pixels, so every
result names its protocol:

- `void_as_false_positive`: predicting a class on void ground truth counts as a false positive of
  that class, and predicting void on a class counts as a miss. The ESPNet paper's numbers.
- `void_ignored`: void ground truth is left out; predicting void on a class counts as a miss.
- `drop_row_and_column`: void ground truth and void predictions both vanish (slightly
  optimistic). The ENet repositories' numbers.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from offline_training.data.base import VOID

VoidProtocol = Literal['void_as_false_positive', 'void_ignored', 'drop_row_and_column']
VOID_PROTOCOLS: tuple[str, ...] = get_args(VoidProtocol)


class ConfusionMatrix:
    """Counts of (ground truth, prediction) pairs; row and column `num_classes` are void.

    >>> matrix = ConfusionMatrix(2)
    >>> matrix.update(np.array([0, 0, 1, VOID]), np.array([0, 1, 1, 0]))
    >>> matrix.iou('void_ignored').tolist()
    [0.5, 0.5]
    >>> matrix.iou('void_as_false_positive').round(3).tolist()  # class 0 predicted on void
    [0.333, 0.5]
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts: NDArray[np.int64] = np.zeros((num_classes + 1,) * 2, dtype=np.int64)

    def update(self, labels: NDArray[np.integer], predictions: NDArray[np.integer]) -> None:
        """Add uint8 maps of equal shape; 255 is void, otherwise 0 .. num_classes - 1.

        Raises:
            ValueError: shapes differ or a label lies outside the known range.
        """
        if labels.shape != predictions.shape:
            raise ValueError(f'labels {labels.shape} and predictions {predictions.shape} differ')
        n = self.num_classes
        for name, values in (('label', labels), ('prediction', predictions)):
            wrong = values[(values != VOID) & ((values < 0) | (values >= n))]
            if wrong.size:
                raise ValueError(
                    f'{name} {int(wrong[0])} is outside 0..{n - 1} and is not void ({VOID})'
                )
        truth = np.where(labels == VOID, n, labels).astype(np.int64).ravel()
        guess = np.where(predictions == VOID, n, predictions).astype(np.int64).ravel()
        self.counts += np.bincount(truth * (n + 1) + guess, minlength=(n + 1) ** 2).reshape(
            n + 1, n + 1
        )

    def merge(self, other: ConfusionMatrix) -> None:
        """Add another matrix of the same classes; raises ValueError for other classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(
                f'{self.num_classes} and {other.num_classes} classes differ; they must agree'
            )
        self.counts += other.counts

    def iou(self, protocol: VoidProtocol = 'void_as_false_positive') -> NDArray[np.float64]:
        """Return IoU per class in 0..1; NaN for a class neither present nor predicted."""
        counts = self.counts.astype(np.float64)
        if protocol == 'void_ignored':
            counts[-1, :] = 0
        elif protocol == 'drop_row_and_column':
            counts[-1, :] = 0
            counts[:, -1] = 0
        elif protocol != 'void_as_false_positive':
            raise ValueError(f'protocol {protocol!r} is not one of {", ".join(VOID_PROTOCOLS)}')
        hits = np.diag(counts)[:-1]
        union = counts[:-1].sum(axis=1) + counts[:, :-1].sum(axis=0) - hits
        with np.errstate(invalid='ignore'):
            return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def miou(self, protocol: VoidProtocol = 'void_as_false_positive') -> float:
        """Return the mean IoU in 0..1 over the classes that occur; NaN when none does."""
        values = self.iou(protocol)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')

    def pixel_accuracy(self) -> float:
        """Return the share of non-void pixels that carry their true label, in 0..1."""
        total = self.counts[:-1].sum()
        return float(np.diag(self.counts)[:-1].sum() / total) if total else float('nan')

    def class_average(self) -> float:
        """Return the mean recall in 0..1 over the classes that occur in the ground truth."""
        rows = self.counts[:-1].sum(axis=1)
        present = rows > 0
        if not present.any():
            return float('nan')
        return float(np.mean(np.diag(self.counts)[:-1][present] / rows[present]))

    def report(
        self, class_names: list[str], protocol: VoidProtocol = 'void_as_false_positive'
    ) -> dict[str, Any]:
        """Return miou, iou per class, pixel_accuracy, class_average and protocol, in percent."""
        iou = self.iou(protocol)
        return {
            'miou': round(100 * self.miou(protocol), 3),
            'iou': {
                name: round(100 * float(value), 3) if np.isfinite(value) else None
                for name, value in zip(class_names, iou, strict=True)
            },
            'pixel_accuracy': round(100 * self.pixel_accuracy(), 3),
            'class_average': round(100 * self.class_average(), 3),
            'protocol': protocol,
        }
