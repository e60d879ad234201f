"""What a person must hear about a calibration before trusting it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import LEAST_SEQUENCES, Channel
from ros2_ood_monitor.calibration.channels import reachable_probability
from ros2_ood_monitor.calibration.sequences import NormalSequence

Float = NDArray[np.float64]

LOWERED = 0.4
"""AUROC of a perturbation against normal frames below which it lowers a statistic."""


def findings(channels: Mapping[str, Channel]) -> Iterator[str]:
    """Yield a sentence for each thing in calibrated channels that does not do what it is for."""
    for name, channel in channels.items():
        certificate = channel.certificate
        certified, asked = certificate.certified_per_hour, certificate.budget_per_hour
        if certified is None or not certificate.certified:
            yield (
                f'{name}: UNCERTIFIED, {certificate.sequences} normal sequences are too few to '
                f'state a false-alarm rate; give {LEAST_SEQUENCES} or more'
            )
        elif certified > 1.001 * asked:
            yield (
                f'{name}: {certified:.3g} false alarms per hour are certified, {asked:.3g} were '
                'asked for; give more normal driving'
            )
        if channel.fusion is None:
            continue
        for each in channel.fusion.maps:
            if each.weight == 0:
                yield f'{name}: the map {each.name} has weight 0, the fusion does without it'
        if channel.regions is not None:
            reachable = reachable_probability(channel.fusion)
            if channel.regions.threshold >= reachable:
                yield (
                    f'{name}: regions need a probability of {reachable:.4f}, the highest there '
                    'is, as normal frames have regions that are nearly as probable; a fusion with '
                    'more weight, or other normal recordings, would help'
                )


def lowered(
    normal: Sequence[NormalSequence], perturbed: Mapping[str, Mapping[str, Float]]
) -> Iterator[str]:
    """Yield a sentence for each statistic that is lower than normal under a perturbation.

    `perturbed` holds, by the name of the perturbation, values (N,) of each statistic.
    """
    for kind, statistics in perturbed.items():
        for name, values in statistics.items():
            sample = np.sort(np.concatenate([each.values[name] for each in normal]))
            below = np.searchsorted(sample, values, 'left') + np.searchsorted(
                sample, values, 'right'
            )
            auroc = float(below.mean()) / (2 * sample.size)
            if auroc < LOWERED:
                yield (
                    f'{name}: lower than normal under {kind} (AUROC {100 * auroc:.0f}), which it '
                    'therefore hides'
                )
