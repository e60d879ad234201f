"""The channels of a bundle, calibrated on normal sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import (
    Certificate,
    Channel,
    Fusion,
    Regions,
    SecondLook,
    statistic_names,
)
from ros2_ood_monitor.calibration.alarm_rules import alarm_rules
from ros2_ood_monitor.calibration.certifying import certifiable_per_hour
from ros2_ood_monitor.calibration.reference import frame_scores, pooled
from ros2_ood_monitor.calibration.region_thresholds import (
    Persistence,
    region_thresholds,
)
from ros2_ood_monitor.calibration.sequences import (
    REGION_LEVEL,
    SECOND_LEVEL,
    NormalSequence,
    hours,
)
from ros2_ood_monitor.inference.fusion import STANDARD_SCORE_LIMIT

Float = NDArray[np.float64]


@dataclass(frozen=True)
class AlarmBudget:
    """How often the monitor may be in ALERT without cause, and how frames are counted."""

    per_hour: float = 1.0
    """Of all channels and of the regions together."""
    frame_rate: float = 15.0
    """Frames per second of the sequences and of the camera."""
    block_seconds: float = 20.0
    """Alarms within so many seconds count as one."""
    least_probability: float = 0.5
    """No region threshold is below."""
    shares: int | None = None
    """How many get a share of it, where these channels are not all; see `shares`."""
    persistence: Persistence = field(default_factory=Persistence)

    @property
    def block(self) -> int:
        """Frames of a block."""
        return max(1, round(self.block_seconds * self.frame_rate))


def calibrate(
    sequences: Sequence[NormalSequence], channels: Mapping[str, Channel], budget: AlarmBudget
) -> dict[str, Channel]:
    """Return `channels` with references, alarms, regions and certificates from normal sequences.

    What else they say, such as fusion, signs and least area, stays. The budget is shared out
    equally over the channels and the regions. Each sequence is scored against the others. If
    something else was fitted on normal frames, then values of a sequence must come from a fit
    without it. Raises ValueError if there is no frame.
    """
    sequences = [each for each in sequences if len(each)]
    if not sequences:
        raise ValueError('no normal frame to calibrate on; give recordings with frames')
    together = hours(sequences, budget.frame_rate)
    lowest = certifiable_per_hour(len(sequences), together)
    stretched = max(1.0, 1 / together / budget.per_hour)
    share = budget.per_hour / (budget.shares or shares(channels))
    found = {}
    for name, channel in channels.items():
        asked, certified = share, None if lowest is None else share * stretched
        regions = channel.regions
        if regions is not None and channel.fusion is not None:
            looks = [REGION_LEVEL] if regions.second_look is None else [REGION_LEVEL, SECOND_LEVEL]
            points = [
                region_thresholds(
                    [each.values[look] for each in sequences],
                    budget.least_probability,
                    reachable_probability(channel.fusion),
                    budget.persistence,
                    budget.block,
                    together,
                    None if lowest is None else share * stretched,
                )
                for look in looks
            ]
            first, *second = points
            regions = Regions(
                first.strict,
                regions.min_area,
                first.sensitive,
                SecondLook(second[0].strict, second[0].sensitive) if second else None,
            )
            for at in points:
                asked += share
                if certified is not None and at.alarms_per_hour is not None:
                    certified += at.alarms_per_hour
        names = statistic_names(name, channel)
        references = {each: pooled([s.values[each] for s in sequences]) for each in names}
        limit = math.log10(min(each.size for each in references.values()) + 1)
        scores = held_out_scores(sequences, names)
        found[name] = replace(
            channel,
            regions=regions,
            frame_score=channel.frame_score
            and replace(channel.frame_score, reference=tuple(references[name].tolist())),
            statistics=tuple(
                replace(each, reference=tuple(references[f'{name}.{each.name}'].tolist()))
                for each in channel.statistics
            ),
            alarms=alarm_rules(
                scores,
                limit,
                budget.block,
                round(60 * budget.frame_rate),
                together,
                share * stretched,
            ),
            certificate=Certificate(
                budget_per_hour=asked,
                certified_per_hour=certified,
                frame_rate=budget.frame_rate,
                sequences=len(sequences),
                hours=together,
            ),
        )
    return found


def shares(channels: Mapping[str, Channel]) -> int:
    """Return how many things raise alarms: the channels, and the regions of every look."""
    regions = [each.regions for each in channels.values() if each.regions is not None]
    return len(channels) + sum(1 if each.second_look is None else 2 for each in regions)


def held_out_scores(sequences: Sequence[NormalSequence], names: Sequence[str]) -> list[Float]:
    """Return the score (N,) of each sequence against the sample of the others.

    It is the highest among the statistics `names`. A lone sequence is scored against itself.
    """
    found = []
    for index, sequence in enumerate(sequences):
        others = [*sequences[:index], *sequences[index + 1 :]] or sequences
        scores = [
            frame_scores(sequence.values[each], pooled([o.values[each] for o in others]))
            for each in names
        ]
        found.append(np.maximum.reduce(scores))
    return found


def reachable_probability(fusion: Fusion) -> float:
    """Return the highest probability that a pixel can have: every map at its clipping limit."""
    logit = fusion.bias + STANDARD_SCORE_LIMIT * sum(each.weight for each in fusion.maps)
    # A hair below, as float32 sums may round.
    return float(np.float32(1 / (1 + math.exp(-logit))) * np.float32(1 - 1e-6))
