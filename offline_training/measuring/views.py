"""Views that a network should not be trusted in, and clean ones: does the state leave NOMINAL?"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offline_training.measuring.held_views import HOLDING, hold
from offline_training.measuring.simulated_camera import Raised
from offline_training.perturbations import PERTURBATIONS, SEEN_IN_TRAINING, perturb
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.runner import Runner

CLEAN, GREY = 'clean', 'grey'


@dataclass(frozen=True, eq=False)
class Kind:
    """Views of one kind."""

    name: str
    group: str
    """clean, seen (by trained parts), unseen, camera or foreign."""
    images: Sequence[UInt8Array] | None
    """None = the normal images, changed by `change`."""
    change: Callable[[UInt8Array, int], UInt8Array]
    """From an image and a seed."""

    @property
    def hazardous(self) -> bool:
        """Whether the network should not be trusted in such a view."""
        return self.group != CLEAN


def as_grey(image: UInt8Array) -> UInt8Array:
    """Return what a camera sends that has lost its colour (ITU-R BT.601 luma), (H, W, 3)."""
    luma = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


def kinds(severity: float, foreign: Mapping[str, Sequence[UInt8Array]]) -> list[Kind]:
    """Return all kinds of views: clean, every perturbation, grey, and worlds by name."""
    found = [Kind(CLEAN, CLEAN, None, lambda image, seed: image)]
    found += [
        Kind(
            name,
            'seen' if name in SEEN_IN_TRAINING else 'unseen',
            None,
            _perturbed(name, severity),
        )
        for name in PERTURBATIONS
    ]
    found.append(Kind(GREY, 'camera', None, lambda image, seed: as_grey(image)))
    found += [
        Kind(name, 'foreign', images, lambda image, seed: image)
        for name, images in foreign.items()
    ]
    return found


def _perturbed(name: str, severity: float) -> Callable[[UInt8Array, int], UInt8Array]:
    return lambda image, seed: perturb(name, image, severity, seed)


def held(
    runner: Runner,
    kind: Kind,
    normal: Sequence[UInt8Array],
    seconds: float,
    seed: int,
    until_alarm: bool = False,
) -> Iterator[Raised]:
    """Hold every view of a kind and yield what the monitor published."""
    for number, image in enumerate(normal if kind.images is None else kind.images):
        own = seed * 100_003 + number
        yield hold(runner, kind.change(image, own), seconds, own, until_alarm)


def summary(kind: Kind, raised: Sequence[Raised]) -> dict[str, Any]:
    """Return per cent of the views that left NOMINAL, how soon, and the causes."""
    left = [each.at_least(State.CAUTION) for each in raised]
    delays = [when for when in left if when is not None]
    causes = Counter(code for each in raised for code in each.codes)
    return {
        'kind': kind.name,
        'group': kind.group,
        'views': len(raised),
        'left_nominal': 100 * len(delays) / len(raised),
        'alert_or_fault': 100
        * sum(each.at_least(State.ALERT) is not None for each in raised)
        / len(raised),
        'median_delay_s': statistics.median(delays) if delays else None,
        'causes': {code: 100 * count / len(raised) for code, count in causes.most_common()},
    }


def group_means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each group the mean of its kinds, and how many of them are mostly seen."""
    found: dict[str, dict[str, Any]] = {}
    for group in dict.fromkeys(row['group'] for row in rows):
        shares = [row['left_nominal'] for row in rows if row['group'] == group]
        found[group] = {
            'kinds': len(shares),
            'left_nominal': statistics.mean(shares),
            'kinds_at_90': sum(share >= 90 for share in shares),
        }
    return found


def protocol(seconds: float, severity: float) -> str:
    """Return in words what was measured."""
    return (
        f'per cent of the views that leave NOMINAL within {seconds:g} s; perturbations at '
        f'severity {severity:g}; {HOLDING}'
    )
