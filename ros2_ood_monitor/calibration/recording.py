"""Scalars of a source's frames, appended to a file, so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, Channel, statistic_names
from ros2_ood_monitor.calibration.sequences import (
    LEAST_GAP_S,
    REGION_LEVEL,
    SECOND_LEVEL,
    Float,
    NormalSequence,
    parts,
)
from ros2_ood_monitor.frame import Frame, RawCompressedImage, RawImage
from ros2_ood_monitor.inference.fusion import fused_logits, probability
from ros2_ood_monitor.inference.regions import region_level
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.inference.second_look import most_unusual
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.input_check import InputCheck, InputFault

FLUSH = 64
"""Frames of which at most the scalars are lost when a run is killed."""


class RecordingError(ValueError):
    """A recording that cannot be used for calibration; the message says what to do."""


def columns(channels: dict[str, Channel]) -> list[str]:
    """Return what a row holds after the time of its frame."""
    names = [each for name, channel in channels.items() for each in statistic_names(name, channel)]
    regions = channels[DEFAULT_CHANNEL].regions
    looked_at_again = regions is not None and regions.second_look is not None
    return [*names, REGION_LEVEL, *([SECOND_LEVEL] if looked_at_again else [])]


def record(
    path: Path, source: Iterable[RawImage | RawCompressedImage], runner: Runner
) -> Iterator[None]:
    """Append a row of float64 for each frame of `source` to `path`; yields after each.

    A row is the stamp in seconds and then `columns`, NaN for an image that the input checks
    refuse. Frames that `path` holds already are read but not scored again.
    """
    names = columns(dict(runner.bundle.channels))
    width = 8 * (1 + len(names))
    done = path.stat().st_size // width if path.exists() else 0
    check = InputCheck(SupervisionConfig(check_stamp_age=False))
    with path.open('ab') as file:
        file.truncate(done * width)
        for number, raw in enumerate(islice(source, done, None)):
            row = np.full(1 + len(names), np.nan)
            now_ns = raw.header.stamp.to_ns()
            row[0] = now_ns / 1e9
            try:
                image = check.check(raw, now_ns, now_ns, runner.bundle.expects_color)
            except InputFault:
                pass
            else:
                found = scalars(Frame(image, raw.header, now_ns), runner)
                row[1:] = [found[name] for name in names]
            file.write(row.tobytes())
            if number % FLUSH == FLUSH - 1:
                file.flush()
            yield


def scalars(frame: Frame, runner: Runner) -> dict[str, float]:
    """Return what calibration keeps of a frame, by `columns`."""
    bundle = runner.bundle
    fusion = bundle.channels[DEFAULT_CHANNEL].fusion
    assert fusion is not None
    detection = runner.infer(frame)
    anomaly = probability(fused_logits(detection.maps, fusion))
    found = {**detection.statistics, REGION_LEVEL: region_level(anomaly, bundle.regions.min_area)}
    if bundle.regions.second_look is not None:
        again = runner.look_again(frame.image, most_unusual(anomaly))
        found[SECOND_LEVEL] = region_level(again, bundle.regions.min_area)
    return found


def read_recording(path: Path, names: Sequence[str]) -> tuple[list[NormalSequence], float]:
    """Return the sequences of a recorded source and its frame rate in Hz.

    Parts that are at least a minute apart are sequences of their own. The values stay on disk
    until they are used. Raises RecordingError if no frame was good or stamps do not advance.
    """
    rows: Float = np.memmap(path, np.float64, 'r').reshape(-1, 1 + len(names))
    good = np.isfinite(rows[:, 1])
    if np.count_nonzero(good) < 2:
        raise RecordingError(f'{path.name}: fewer than 2 of {len(rows)} frames could be scored')
    stamps = np.array(rows[:, 0])
    steps = np.diff(stamps)
    steps = steps[(steps > 0) & (steps < LEAST_GAP_S)]
    if not steps.size:
        raise RecordingError(f'{path.name}: the stamps of its frames do not advance')
    kept = stamps[good]
    found = [
        NormalSequence({name: rows[good, 1 + i][part] for i, name in enumerate(names)})
        for part in parts(kept)
    ]
    return found, float(1 / np.median(steps))
