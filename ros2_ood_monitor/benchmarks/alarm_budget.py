"""Do calibrated alarms keep their stated rate? Simulated sequences of correlated statistics.

python -m ros2_ood_monitor.benchmarks.alarm_budget --sequences 10 --hours 2 --per-hour 0.5 1 4
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import (
    DEFAULT_CHANNEL,
    Alarm,
    Certificate,
    Channel,
    FrameScore,
    FusedMap,
    Fusion,
    Regions,
    Statistic,
    statistic_names,
)
from ros2_ood_monitor.calibration.channels import AlarmBudget, calibrate
from ros2_ood_monitor.calibration.reference import frame_scores
from ros2_ood_monitor.calibration.region_thresholds import persisting
from ros2_ood_monitor.calibration.sequences import REGION_LEVEL, NormalSequence
from ros2_ood_monitor.supervision.cusum import DRAIN_S, LEAST_FRAMES

Float = NDArray[np.float64]

RELEASE_S = 1.0
"""An alarm that returns within this time is the same, as in `supervision.release_s`."""
_UNKNOWN = Certificate(1.0, None, 15.0, None, None)
CHANNELS: Mapping[str, Channel] = {
    DEFAULT_CHANNEL: Channel(
        Fusion((FusedMap('map', 'map', 0, 0.0, 1.0, 1.0),), 0.0),
        Regions(0.5, 10),
        FrameScore(0.01, ()),
        (),
        _UNKNOWN,
    ),
    'image': Channel(
        None,
        None,
        None,
        (),
        _UNKNOWN,
        tuple(
            Statistic(name, 'image', i, 1.0, ()) for i, name in enumerate(('unlike', 'position'))
        ),
    ),
}
"""What is simulated: the two channels of a bundle, one with regions, one with two statistics."""


@dataclass(frozen=True)
class World:
    """How normal statistics behave, in their standard deviations within a sequence.

    Each is an AR(1) series with `correlation` from frame to frame, moved by an offset of deviation
    `offset` that is the same all sequence long.
    """

    correlation: float = 0.95
    offset: float = 0.3
    frame_rate: float = 15.0

    def sequences(
        self, count: int, seconds: float, rng: np.random.Generator, shift: float = 0.0
    ) -> list[NormalSequence]:
        """Draw sequences; `shift` is added to every statistic."""
        names = [
            each for name, channel in CHANNELS.items() for each in statistic_names(name, channel)
        ]
        frames = round(seconds * self.frame_rate)
        values = rng.normal(size=(frames, len(names) + 1, count))
        fresh = math.sqrt(1 - self.correlation**2)
        for before, now in pairwise(values):
            now *= fresh
            now += self.correlation * before
        values += shift + self.offset * rng.normal(size=values.shape[1:])
        # Regions are log odds; a normal frame has none but with a probability far below a half.
        values[:, -1] = 1 / (1 + np.exp(4 - values[:, -1]))
        names.append(REGION_LEVEL)
        return [
            NormalSequence({name: values[:, k, s].copy() for k, name in enumerate(names)})
            for s in range(count)
        ]


def alarms_per_hour(
    sequences: Sequence[NormalSequence], channels: Mapping[str, Channel], budget: AlarmBudget
) -> float:
    """Return how often the calibrated channels would be in ALERT; sequences of equal length."""
    active = np.zeros((len(sequences), len(sequences[0])), bool)
    for name, channel in channels.items():
        scores = np.maximum.reduce(
            [
                np.stack([frame_scores(s.values[each], np.array(sample)) for s in sequences])
                for each, sample in _references(name, channel).items()
            ]
        )
        for alarm in channel.alarms:
            active |= alarming(scores, alarm, budget.frame_rate)
    regions = channels[DEFAULT_CHANNEL].regions
    assert regions is not None
    active |= np.stack(
        [
            persisting(s.values[REGION_LEVEL], budget.persistence) >= regions.threshold
            for s in sequences
        ]
    )
    hours = active.size / budget.frame_rate / 3600
    return sum(_episodes(each, RELEASE_S * budget.frame_rate) for each in active) / hours


def alarming(scores: Float, alarm: Alarm, frame_rate: float) -> NDArray[np.bool_]:
    """Return where `supervision.cusum.Cusum` alarms for each row of scores (S, N)."""
    evidence = np.zeros(len(scores))
    cap = alarm.threshold + min(alarm.threshold, alarm.drift * frame_rate * DRAIN_S)
    found = np.zeros(scores.shape, bool)
    steps = np.minimum(scores - alarm.drift, alarm.threshold / LEAST_FRAMES)
    for frame, step in enumerate(steps.T):
        evidence = np.clip(evidence + step, 0.0, cap)
        found[:, frame] = evidence >= alarm.threshold * (1 - 1e-12)
    return found


def _references(name: str, channel: Channel) -> dict[str, tuple[float, ...]]:
    own = {} if channel.frame_score is None else {name: channel.frame_score.reference}
    return own | {f'{name}.{each.name}': each.reference for each in channel.statistics}


def _episodes(active: NDArray[np.bool_], release: float) -> int:
    frames = np.flatnonzero(active)
    return 0 if frames.size == 0 else 1 + int(np.count_nonzero(np.diff(frames) > release))


def simulate(
    world: World,
    count: int,
    hours: float,
    per_hour: float,
    calibrations: int,
    seed: int,
    shift: float = 0.0,
    fresh_hours: float = 40.0,
) -> tuple[list[float], float | None]:
    """Return the alarm rate of each calibration on fresh sequences, and the rate it states.

    Calibrated on `count` sequences of `hours` together, counted on 12-minute sequences.
    """
    rng = np.random.default_rng(seed)
    budget = AlarmBudget(per_hour, world.frame_rate)
    rates, stated = [], None
    for _ in range(calibrations):
        normal = world.sequences(count, hours / count * 3600, rng)
        channels = calibrate(normal, CHANNELS, budget)
        certified = [each.certificate.certified_per_hour for each in channels.values()]
        stated = None if None in certified else float(sum(filter(None, certified)))
        fresh = world.sequences(round(fresh_hours * 5), 720, rng, shift)
        rates.append(alarms_per_hour(fresh, channels, budget))
    return rates, stated


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--sequences', type=int, default=10, metavar='N')
    parser.add_argument('--hours', type=float, default=2.0, help='of all sequences (2)')
    parser.add_argument('--per-hour', type=float, nargs='+', default=[0.5, 1.0, 4.0])
    parser.add_argument('--calibrations', type=int, default=50)
    parser.add_argument('--correlation', type=float, default=0.95, help='frame to frame (0.95)')
    parser.add_argument('--offset', type=float, default=0.3, help='between sequences (0.3)')
    parser.add_argument('--shift', type=float, default=0.0, help='of fresh sequences (0)')
    parser.add_argument('--fresh-hours', type=float, default=40.0, help='counted on (40)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    world = World(args.correlation, args.offset)
    write = sys.stdout.write
    write(
        f'{args.calibrations} calibrations on {args.hours:g} h of {args.sequences} sequences; '
        f'correlation {args.correlation:g}, offset {args.offset:g}, shift {args.shift:g}\n'
        'asked  stated  measured mean   (range)        / stated  above 2 x\n'
    )
    for per_hour in args.per_hour:
        rates, stated = simulate(
            world,
            args.sequences,
            args.hours,
            per_hour,
            args.calibrations,
            args.seed,
            args.shift,
            args.fresh_hours,
        )
        share = np.array(rates) / (stated or per_hour)
        span = f'({min(rates):.2f}-{max(rates):.2f})'
        write(
            f'{per_hour:<6g} {"none" if stated is None else f"{stated:.3g}":<7} '
            f'{np.mean(rates):<15.2f} {span:<14} {share.mean():<9.2f} {np.mean(share > 2):.0%}\n'
        )
        sys.stdout.flush()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
