"""Disagreement of several predictions of one image: four measures in one streaming pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from offline_training.detectors.base import Detector
from offline_training.watched.base import Watched

Measure = Literal['mean_msp', 'variance', 'predictive_entropy', 'mutual_information']
MEASURES: tuple[Measure, ...] = get_args(Measure)


def disagreement(samples: Iterable[Tensor]) -> dict[Measure, Tensor]:
    """Return the four measures of T predictions, holding a few of them in memory at a time.

    With p_t the softmax of sample t and p their mean: `mean_msp` is 1 - max_c p_c,
    `predictive_entropy` H(p), `mutual_information` H(p) - mean_t H(p_t) (BALD, Houlsby et al.
    2011), both in nats, and `variance` the mean over classes of the variance over t (division by
    T; Kendall et al., "Bayesian SegNet", 2015).

    Args:
        samples: T tensors of logits (B, C, H, W), T at least 1.

    Returns:
        Measure to scores (B, H, W), all at least 0.

    Raises:
        ValueError: there are no samples.
    """
    mean = squares = entropies = None
    count = 0
    for logits in samples:
        p = logits.softmax(dim=1)
        own = torch.special.entr(p).sum(dim=1)
        count += 1
        if mean is None or squares is None or entropies is None:
            mean, squares, entropies = p, torch.zeros_like(p), own
            continue
        # Welford's recurrence: the difference of two sums would cancel for sure predictions.
        change = p - mean
        mean = mean + change / count
        squares = squares + change * (p - mean)
        entropies = entropies + own
    if mean is None or squares is None or entropies is None:
        raise ValueError('disagreement needs at least one sample; raise the number of passes')
    total = torch.special.entr(mean).sum(dim=1)
    return {
        'mean_msp': 1 - mean.amax(dim=1),
        'variance': squares.mean(dim=1) / count,
        'predictive_entropy': total,
        'mutual_information': (total - entropies / count).clamp_min(0),
    }


class SampledDetector(Detector):
    """Base of the detectors that let the network predict several times under random changes.

    Pass t changes every image of a batch alike and every call draws the same changes from
    `seed`, so that a score depends on its image alone.

    Raises:
        ValueError: `measure` is unknown or `passes` below 1.
    """

    def __init__(self, measure: Measure, passes: int, seed: int, **settings: Any):
        super().__init__(measure=measure, passes=passes, seed=seed, **settings)
        if measure not in MEASURES:
            raise ValueError(
                f'measure is {measure!r} but must be one of {", ".join(MEASURES)}; correct it'
            )
        if passes < 1:
            raise ValueError(f'passes is {passes} but must be at least 1; correct the setting')
        self.measure: Measure = measure
        self.seed = seed

    @property
    def passes(self) -> int:
        return 1 + int(self.settings['passes'])

    @abstractmethod
    def samples(
        self, watched: Watched, images: Tensor, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Yield `passes` predictions, logits (B, C, H, W) of the known classes.

        `generator` is on the CPU, so that every device sees the same random numbers.
        """

    def measures(self, watched: Watched, images: Tensor) -> dict[Measure, Tensor]:
        """Return the maps (B, H, W) of all measures from the same passes."""
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            return disagreement(self.samples(watched, images, generator))

    def score_map(self, watched: Watched, images: Tensor) -> Tensor:
        return self.measures(watched, images)[self.measure]
