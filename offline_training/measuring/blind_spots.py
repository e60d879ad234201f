"""What a bundle sees and what not: held views of every kind, objects by size and distance, drives.

Everything here is of seeds, textures, outlines and cut-outs that nothing in the bundle has learned
from; the normal images are the validation split, which calibration has seen.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from offline_training.measuring import views
from offline_training.measuring.events import Approach, alarms
from offline_training.measuring.held_views import hold
from offline_training.measuring.perspective import paste, seen
from offline_training.measuring.self_made import box_of_size, self_made
from offline_training.measuring.simulated_camera import Raised, frame_rate
from offline_training.synthesis.negatives import Negatives
from ros2_ood_monitor.alert import State
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.runner import Runner

SEED = 9_000_011
"""Apart from the seeds of training, calibration and comparison."""
SECONDS = 2.0
SEVERITY = 0.6
SIZES = (0.01, 0.03, 0.08)
"""Shares of the image."""
DISTANCES = (5.0, 10.0, 20.0)
"""Metres."""
Row = dict[str, Any]


def blind_spots(
    runner: Runner,
    normal: Sequence[UInt8Array],
    drive: Sequence[UInt8Array],
    negatives: Negatives,
    each: Callable[[], object] = lambda: None,
) -> list[Row]:
    """Return the rows of the manifest's `cannot_see`, of views held for 2 s.

    Every kind of view is made of all images of `normal`, which show no unknowns; `drive` are such
    images in order at the bundle's frame rate. `each` is called after every view.
    """
    rows = []
    for kind in views.kinds(SEVERITY, {}):
        held = _counted(views.held(runner, kind, normal, SECONDS, SEED, until_alarm=True), each)
        if kind.hazardous:
            of_camera = kind.group == 'camera'
            at = None if of_camera else SEVERITY
            rows.append(_row('camera' if of_camera else 'perturbation', kind.name, at, held))
        else:
            rows.append(_clean(held))
    rows += [_objects_of(runner, normal, negatives, share, each) for share in SIZES]
    rows += [_objects_at(runner, normal, negatives, metres, each) for metres in DISTANCES]
    if drive:
        fps = frame_rate(runner)
        rows.append(
            {
                'kind': 'normal',
                'what': f'a drive of {len(drive) / fps:.1f} s',
                'severity_or_distance': None,
                'seen_share': None,
                'delay_s': None,
                'false_alarms': float(len(alarms(runner, drive, fps))),
            }
        )
    return rows


def views_in(count: int) -> int:
    """Return how many views `blind_spots` makes of `count` images, for a progress bar."""
    return count * (len(views.kinds(SEVERITY, {})) + len(SIZES) + len(DISTANCES))


def _objects_of(
    runner: Runner,
    normal: Sequence[UInt8Array],
    negatives: Negatives,
    share: float,
    each: Callable[[], object],
) -> Row:
    def pasted() -> Iterator[UInt8Array]:
        rng = np.random.default_rng((SEED, round(1000 * share)))
        cutouts = islice(self_made(negatives, SEED), len(normal))
        for image, cutout in zip(normal, cutouts, strict=True):
            yield paste(image, cutout, box_of_size(rng, image, cutout, share))[0]

    held = _counted(_held(runner, pasted()), each)
    return _row('object', f'{100 * share:g} % of the image', None, held)


def _objects_at(
    runner: Runner,
    normal: Sequence[UInt8Array],
    negatives: Negatives,
    metres: float,
    each: Callable[[], object],
) -> Row:
    approach = Approach()

    def pasted() -> Iterator[UInt8Array]:
        rng = np.random.default_rng((SEED, round(1000 * metres)))
        cutouts = islice(self_made(negatives, SEED + 1), len(normal))
        for image, cutout in zip(normal, cutouts, strict=True):
            lateral = float(rng.uniform(-approach.lateral, approach.lateral))
            aspect = cutout.shape[1] / cutout.shape[0]
            box = seen(approach.camera(image), metres, approach.height, lateral, aspect)
            yield paste(image, cutout, box)[0]

    held = _counted(_held(runner, pasted()), each)
    what = (
        f'{approach.height:g} m high on the road, camera {approach.camera_height:g} m high, '
        '53 degrees wide'
    )
    return _row('object', what, metres, held)


def _held(runner: Runner, images: Iterable[UInt8Array]) -> Iterator[Raised]:
    for number, image in enumerate(images):
        yield hold(runner, image, SECONDS, SEED + number, until_alarm=True)


def _counted(held: Iterable[Raised], each: Callable[[], object]) -> list[float | None]:
    """Return when each view left NOMINAL."""
    found = []
    for raised in held:
        found.append(raised.at_least(State.CAUTION))
        each()
    return found


def _row(kind: str, what: str, at: float | None, left: Sequence[float | None]) -> Row:
    delays = [when for when in left if when is not None]
    return {
        'kind': kind,
        'what': what,
        'severity_or_distance': at,
        'seen_share': len(delays) / len(left),
        'delay_s': statistics.median(delays) if delays else None,
        'false_alarms': None,
    }


def _clean(left: Sequence[float | None]) -> Row:
    return {
        **_row('normal', f'{len(left)} views held for {SECONDS:g} s', None, left),
        'seen_share': None,
        'delay_s': None,
        'false_alarms': float(sum(when is not None for when in left)),
    }
