"""Calibration of an uncertainty: does a confidence of 90 % mean 90 % correct pixels?

Confidence is c = 1 - uncertainty / scale, the positive class is "correct" (for a detector of
unknown objects: normal), accuracy is the share of correct samples. Two errors, both in 0..1 and
0 for a calibrated score:

- ECE = sum_b n_b / N |acc_b - conf_b| over bins of equal width in c (Guo et al. 2017). A bin is
  open below and closed above; c = 0 belongs to the first.
- ACE = 1 / (K R) sum_k sum_r |acc_kr - conf_kr| over the K groups that occur and, in each, R
  ranges of equally many samples in the order of c (Nixon et al. 2019). ObsNet takes the true
  class as group. Its 14 ranges divided by 15 are not reproduced.

ECE is exact. ACE cuts its ranges in a histogram of the uncertainty (512 cells per power of two,
289 KiB per group) whose sums are exact: only the cell at a cut is divided in proportion. That also
settles equal confidences: they are spread over the ranges as a random order would on average.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
_DROPPED = np.uint32(14)  # of the 23 bits of a float32 mantissa
_FIRST = int(np.float32(2.0**-24).view(np.uint32) >> _DROPPED)
_CELLS = int(np.float32(1).view(np.uint32) >> _DROPPED) - _FIRST + 2


class Reliability(NamedTuple):
    """Mean confidence, accuracy (NaN where empty) and samples of every bin, (bins,) each."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    samples: NDArray[np.int64]


class ReliabilityDiagram:
    """Streaming, mergeable ECE and ACE.

    Args:
        groups: number of groups of the ACE, for instance the classes of the ground truth.
        bins: bins of the ECE and ranges of the ACE.
        scale: the uncertainty that stands for no confidence at all: 1 for a probability of
            error, log(classes) for an entropy. ObsNet divides by the largest value of the test
            set, which needs a second pass and depends on a single pixel.
    """

    def __init__(self, groups: int = 1, bins: int = BINS, scale: float = 1.0) -> None:
        if groups < 1 or bins < 1 or not 0 < scale < np.inf:
            raise ValueError(
                f'groups {groups}, bins {bins} and scale {scale} must be positive and finite'
            )
        self.groups, self.bins, self.scale = groups, bins, scale
        # Samples, correct samples, sum of the uncertainty (cells) or confidence (bins).
        self.cell_sums: NDArray[np.float64] = np.zeros((3, groups, _CELLS))
        self.bin_sums: NDArray[np.float64] = np.zeros((3, bins))

    def update(
        self,
        uncertainty: NDArray[np.floating],
        correct: NDArray[np.bool_],
        group: NDArray[np.integer] | None = None,
    ) -> None:
        """Add samples of any one shape: uncertainty in 0..scale, truth, group in 0..groups - 1.

        For the ACE of a whole softmax feed 1 - p_k with correct = (label == k) as group k.

        Raises:
            ValueError: shapes differ, or a value is NaN or out of its range.
        """
        # Wide integers: the cells of a byte's groups have larger numbers than a byte holds.
        members = np.zeros(uncertainty.shape, dtype=np.int64)
        if group is not None:
            members = np.asarray(group, dtype=np.int64)
        if not uncertainty.shape == correct.shape == members.shape:
            raise ValueError(
                f'uncertainty {uncertainty.shape}, correct {correct.shape} and group '
                f'{members.shape} differ in shape'
            )
        if not uncertainty.size:
            return
        low, high = float(uncertainty.min()), float(uncertainty.max())
        if not (low >= 0 and high <= self.scale):
            raise ValueError(
                f'uncertainties from {low:g} to {high:g} do not lie in 0..{self.scale:g}; set '
                'scale to the largest possible value'
            )
        if members.min() < 0 or members.max() >= self.groups:
            raise ValueError(
                f'groups {members.min()}..{members.max()} lie outside 0..{self.groups - 1}; '
                'leave void pixels out or raise groups'
            )
        share = np.ravel(uncertainty).astype(np.float64) / self.scale
        right = np.ravel(correct).astype(np.float64)
        keys = (share.astype(np.float32).view(np.uint32) >> _DROPPED).astype(np.int64)
        cells = np.ravel(members) * _CELLS + np.maximum(keys - _FIRST + 1, 0)
        self.cell_sums += self._sums(cells, right, share, self.groups * _CELLS).reshape(
            self.cell_sums.shape
        )
        bins = np.ceil((1 - share) * self.bins).astype(np.int64).clip(1, self.bins) - 1
        self.bin_sums += self._sums(bins, right, 1 - share, self.bins)

    @staticmethod
    def _sums(
        cells: NDArray[np.int64],
        right: NDArray[np.float64],
        values: NDArray[np.float64],
        size: int,
    ) -> NDArray[np.float64]:
        return np.stack(
            [np.bincount(cells, weights, size) for weights in (None, right, values)]
        ).astype(np.float64)

    def merge(self, other: ReliabilityDiagram) -> None:
        """Add the samples of another measure with the same groups, bins and scale."""
        mine, theirs = ((c.groups, c.bins, c.scale) for c in (self, other))
        if mine != theirs:
            raise ValueError(f'groups, bins and scale {mine} and {theirs} differ; they must agree')
        self.cell_sums += other.cell_sums
        self.bin_sums += other.bin_sums

    def ece(self) -> float:
        """Return the expected calibration error in 0..1; NaN without samples."""
        samples, right, confidence = self.bin_sums
        total = samples.sum()
        return float(np.abs(right - confidence).sum() / total) if total else float('nan')

    def ace(self) -> float:
        """Return the adaptive calibration error in 0..1; NaN without samples."""
        errors = []
        for samples, right, uncertainty in self.cell_sums.transpose(1, 0, 2):
            used = np.flatnonzero(samples)
            if not used.size:
                continue
            reached = np.concatenate([[0], np.cumsum(samples[used])])
            cuts = np.linspace(0, reached[-1], self.bins + 1)
            # Sum of (correct - confidence) up to every cut; a cut cell counts in proportion.
            gaps = right[used] - (samples[used] - uncertainty[used])
            sums = np.interp(cuts, reached, np.concatenate([[0], np.cumsum(gaps)]))
            errors.append(np.abs(np.diff(sums)).sum() / reached[-1])
        return float(np.mean(errors)) if errors else float('nan')

    def reliability(self) -> Reliability:
        """Return the reliability diagram: the bins of the ECE from low to high confidence."""
        samples, right, confidence = self.bin_sums
        with np.errstate(invalid='ignore'):
            return Reliability(confidence / samples, right / samples, samples.astype(np.int64))

    def report(self) -> dict[str, float]:
        """Return ece and ace in 0..1, positive = correct."""
        return {'ece': self.ece(), 'ace': self.ace()}
