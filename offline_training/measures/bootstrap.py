"""Bootstrap confidence intervals over images.

Pixels of one image are correlated, so whole images are resampled with replacement (Efron &
Tibshirani 1993, percentile interval). Each image contributes a vector of sums, so a resample is a
weighted sum of rows and nothing is computed twice:

- `ConfusionMatrix.counts.ravel()` or `ComponentScores.sums`: rows for `bootstrap`;
- one `PixelCurve(cells=4096)` per image for `bootstrap_curve`: at most 96 KiB each, 22 MiB for the
  233 images of CamVid's test split, and measures within 1e-3 of the exact ones. A frame with one
  score takes a few hundred bytes.

The same seed draws the same images, so two detectors measured on the same images are
compared under the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from offline_training.measures.detection_curve import Counts, DetectionCurve
from offline_training.measures.pixel_curve import PixelCurve, key_scores

IMAGE_CELLS = 4096
_SUMS_AT_ONCE = 2**22
"""Values of resamples held in memory at a time: 32 MiB."""


class Interval(NamedTuple):
    """A measure on all images, its interval, and the resamples in which it was defined."""

    value: float
    low: float
    high: float
    resamples: int


class _CountedCurve(DetectionCurve):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def counts(self) -> Counts:
        return self._counts


def bootstrap(
    sums: NDArray | csr_matrix,
    statistic: Callable[[NDArray], Mapping[str, float]],
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return an interval per measure.

    Args:
        sums: (images, K), one row of additive sums per image.
        statistic: turns the sum of rows (K,) into named measures; NaN where one is undefined.
            Such resamples are left out and `Interval.resamples` says how many remain.
        rng: the source of the drawing; seed it.
        resamples: number of drawings.
        level: share of the resamples inside the interval, in 0..1.

    Raises:
        ValueError: fewer than two images, no resample, or a level outside 0..1.
    """
    images = sums.shape[0]
    if images < 2 or resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f'{images} images, {resamples} resamples and level {level}: a bootstrap needs '
            'two images, one resample and a level between 0 and 1'
        )
    value = statistic(np.ones(images, dtype=np.int64) @ sums)
    drawn: dict[str, list[float]] = {name: [] for name in value}
    at_once = max(1, min(32, _SUMS_AT_ONCE // sums.shape[1]))
    for start in range(0, resamples, at_once):
        draws = rng.multinomial(
            images, np.full(images, 1 / images), size=min(at_once, resamples - start)
        )
        for row in draws @ sums:
            for name, measured in statistic(row).items():
                drawn[name].append(measured)
    outside = (1 - level) / 2
    intervals = {}
    for name, measured in value.items():
        defined = np.array(drawn[name])[~np.isnan(drawn[name])]
        low, high = (
            np.quantile(defined, (outside, 1 - outside)) if defined.size else (np.nan, np.nan)
        )
        intervals[name] = Interval(float(measured), float(low), float(high), defined.size)
    return intervals


def bootstrap_curve(
    curves: Sequence[PixelCurve],
    rng: np.random.Generator,
    measures: Callable[[DetectionCurve], Mapping[str, float]] = DetectionCurve.measures,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return an interval per measure of a detector from one curve per image.

    The value is that of the summaries: at the coarsest resolution among the curves. A resample
    without anomalous or without normal samples has no curve and is left out.

    Raises:
        ValueError: fewer than two curves, or all of them together lack a class.
    """
    shift = max((curve.shift for curve in curves), default=0)
    cells, rows = _aligned([curve.cell_counts(shift) for curve in curves])
    scores = key_scores(cells << np.uint32(shift))[::-1]

    def curve_of(sums: NDArray) -> DetectionCurve:
        positives, negatives = sums[: len(cells)][::-1], sums[len(cells) :][::-1]
        used = positives + negatives > 0
        return _CountedCurve(Counts(scores[used], positives[used], negatives[used]))

    names = measures(curve_of(np.ones(len(curves), dtype=np.int64) @ rows))

    def statistic(sums: NDArray) -> Mapping[str, float]:
        if not (sums[: len(cells)].any() and sums[len(cells) :].any()):
            return dict.fromkeys(names, float('nan'))
        return measures(curve_of(sums))

    return bootstrap(rows, statistic, rng, resamples, level)


def _aligned(
    images: Sequence[tuple[NDArray, NDArray, NDArray]],
) -> tuple[NDArray[np.uint32], csr_matrix]:
    """Return all cells (N,) and, per image, positives then negatives over them (P, 2 N)."""
    if len(images) < 2:
        raise ValueError(f'{len(images)} images; a bootstrap needs at least two')
    cells = np.unique(np.concatenate([own for own, _, _ in images]))
    ends = np.cumsum([0, *(len(own) for own, _, _ in images)])
    columns = np.concatenate([np.searchsorted(cells, own) for own, _, _ in images])
    sides = [
        csr_matrix(
            (np.concatenate([image[side] for image in images]), columns, ends),
            shape=(len(images), len(cells)),
        )
        for side in (1, 2)
    ]
    return cells, hstack(sides, format='csr')
