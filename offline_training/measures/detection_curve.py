"""Measures of a detector from the counts of its scores on anomalous and normal samples.

A sample is a pixel or a whole frame. Scores are "higher = more anomalous". The positive class is
named everywhere, because swapping it moves FPR95 by more than 15 points on the same data:

- `anomaly`: an anomalous sample is positive and is found when its score is at least the
  threshold. SegmentMeIfYouCan, Fishyscapes, StreetHazards and DAAIN report this.
- `success`: a normal (correctly segmented, in-distribution) sample is positive and is accepted
  when its score is at most the threshold. ObsNet, LaREx and Residual Flow report this.

Equal scores are never separated: a threshold takes all or none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Positive = Literal['anomaly', 'success']
SIGN_FLIPPED_BELOW = 0.5


class Counts(NamedTuple):
    """Counts per distinct score; `scores` strictly decrease, all arrays are (N,)."""

    scores: NDArray[np.float32]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]


class Rates(NamedTuple):
    """Operating points over falling thresholds, positive = anomaly; all arrays (N,)."""

    thresholds: NDArray[np.float32]
    tpr: NDArray[np.float64]
    fpr: NDArray[np.float64]
    precision: NDArray[np.float64]


class DetectionCurve(ABC):
    """All measures of one detector; every one raises ValueError when a class has no sample."""

    @abstractmethod
    def counts(self) -> Counts:
        """Return the distinct scores, decreasing, with their anomalous and normal counts."""

    def has_both_kinds(self) -> bool:
        """Tell whether an anomalous and a normal sample were counted, as every measure needs."""
        counts = self.counts()
        return bool(counts.positives.any() and counts.negatives.any())

    def _cumulated(
        self, positive: Positive = 'anomaly'
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return cumulated true and false positives, (N + 1,), from (0, 0)."""
        counts = self.counts()
        for kind, values in (('anomalous', counts.positives), ('normal', counts.negatives)):
            if not values.any():
                raise ValueError(f'no {kind} pixel was counted; the curve needs both kinds')
        if positive == 'anomaly':
            true, false = counts.positives, counts.negatives
        elif positive == 'success':
            true, false = counts.negatives[::-1], counts.positives[::-1]
        else:
            raise ValueError(f"positive is {positive!r}; it must be 'anomaly' or 'success'")
        start = np.zeros(1, dtype=np.int64)
        return (
            np.concatenate([start, np.cumsum(true)]),
            np.concatenate([start, np.cumsum(false)]),
        )

    def auroc(self) -> float:
        """Return the area under the ROC curve in 0..1; equal scores count half.

        It is the chance that an anomaly scores above a normal sample, and the same for both
        choices of the positive class.
        """
        true, false = self._cumulated()
        heights = (true[1:] + true[:-1]) / 2
        return float(np.sum(np.diff(false) * heights) / (float(true[-1]) * float(false[-1])))

    def ap(self, positive: Positive = 'anomaly') -> float:
        """Return average precision (AUPR as a step integral, not interpolated) in 0..1.

        Equal scores make one step. `ap('success')` is ObsNet's AuPR-success up to its coarser
        trapezoids; with few anomalies it lies near 1 for every detector.
        """
        true, false = self._cumulated(positive)
        precision = true[1:] / (true[1:] + false[1:])
        return float(np.sum(np.diff(true) / true[-1] * precision))

    def _trapezoids(self, positive: Positive) -> float:
        true, false = self._cumulated(positive)
        precision = np.concatenate([[1.0], true[1:] / (true[1:] + false[1:])])
        return float(np.sum(np.diff(true) * (precision[1:] + precision[:-1])) / (2 * true[-1]))

    def auin(self) -> float:
        """Return AUIN in 0..1: area under precision-recall, positive = normal (success).

        Trapezoids from recall 0, precision 1, as the OOD literature reports it (Liang et al.
        2018); equal scores are interpolated, which flatters a score with many ties.
        """
        return self._trapezoids('success')

    def auout(self) -> float:
        """Return AUOUT in 0..1: as `auin`, positive = anomaly (Liang et al. 2018)."""
        return self._trapezoids('anomaly')

    def fpr95(self, positive: Positive = 'anomaly') -> float:
        """Return the false positive rate in 0..1 at the first threshold with TPR >= 95 %.

        `anomaly`: share of normal samples flagged while 95 % of the anomalies are found.
        `success`: share of anomalies accepted while 95 % of the normal samples are accepted
        (ObsNet, LaREx). Equal scores are taken together, so the true rate may exceed 95 %.
        """
        true, false = self._cumulated(positive)
        # Integers, so that rounding cannot miss exactly 95 %.
        return float(false[np.argmax(20 * true >= 19 * true[-1])] / false[-1])

    def tnr95(self, positive: Positive = 'anomaly') -> float:
        """Return the true negative rate in 0..1 at the threshold of `fpr95`, 1 - FPR95.

        Residual Flow reports `tnr95('success')`: anomalies refused while 95 % of the
        in-distribution samples are accepted.
        """
        return 1 - self.fpr95(positive)

    def detection_accuracy(self) -> float:
        """Return max over thresholds of (TPR + TNR) / 2, in 0.5..1 (Liang et al. 2018).

        The same for both choices of the positive class; equal scores are taken together.
        """
        true, false = self._cumulated()
        return float(np.max(true / true[-1] + 1 - false / false[-1]) / 2)

    def best_f1_threshold(self) -> float:
        """Return the score t for which `score >= t` has the best F1, positive = anomaly.

        SegmentMeIfYouCan cuts its component masks here. Of equal F1 the highest t is returned.
        """
        true, false = self._cumulated()
        f1 = 2 * true[1:] / (true[1:] + false[1:] + true[-1])
        return float(self.counts().scores[np.argmax(f1)])

    def rates(self, most: int = 1000) -> Rates:
        """Return at most `most` operating points for drawing, spread evenly along the ROC curve.

        Threshold infinity, where nothing is flagged, comes first with precision 1.
        """
        true, false = self._cumulated()
        tpr, fpr = true / true[-1], false / false[-1]
        chosen = np.unique(
            np.searchsorted(tpr + fpr, np.linspace(0, 2, most)).clip(max=len(tpr) - 1)
        )
        thresholds = np.concatenate([np.array([np.inf], dtype=np.float32), self.counts().scores])
        precision = np.concatenate([[1.0], true[1:] / (true[1:] + false[1:])])
        return Rates(thresholds[chosen], tpr[chosen], fpr[chosen], precision[chosen])

    def measures(self) -> dict[str, float]:
        """Return every measure in 0..1; names end in the positive class where it matters."""
        fpr95 = {kind: self.fpr95(kind) for kind in ('anomaly', 'success')}
        return {
            'auroc': self.auroc(),
            'aupr_anomaly': self.ap('anomaly'),
            'aupr_success': self.ap('success'),
            'auout': self.auout(),
            'auin': self.auin(),
            **{f'fpr95_{kind}': value for kind, value in fpr95.items()},
            **{f'tnr95_{kind}': 1 - value for kind, value in fpr95.items()},
            'detection_accuracy': self.detection_accuracy(),
        }

    def report(self) -> dict[str, float]:
        """Return ap, fpr95 and auroc in percent, positive = anomaly."""
        values = {'ap': self.ap(), 'fpr95': self.fpr95(), 'auroc': self.auroc()}
        return {name: round(100 * value, 3) for name, value in values.items()}

    def looks_flipped(self) -> bool:
        """Tell whether the normal samples score higher, which usually means a flipped sign."""
        return self.auroc() < SIGN_FLIPPED_BELOW

    def flip_warning(self, name: str) -> str | None:
        """Return a sentence about the score `name` when `looks_flipped()`, otherwise None.

        No measure is ever inverted: a bad detector must look bad.
        """
        if not self.looks_flipped():
            return None
        return (
            f'warning: AUROC of the score {name!r} is {self.auroc():.3f}, below 0.5: is its sign '
            'flipped? Higher must mean more anomalous.'
        )
