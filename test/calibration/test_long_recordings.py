"""Recalibration on long recordings: constant memory, and a shifted bundle kept to its rate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.tiny_bundle import HEIGHT, WIDTH, normal_image

from ros2_ood_monitor.benchmarks.alarm_budget import alarming
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.calibration.recalibration import recalibrate
from ros2_ood_monitor.calibration.recording import scalars
from ros2_ood_monitor.calibration.reference import frame_scores
from ros2_ood_monitor.frame import Frame, Header, RawImage, Stamp
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.recordings.sources import Source

HZ = 10.0
SEQUENCE = 300
"""Frames of a sequence: half a minute."""


def frames(seed: int, count: int, grain: float) -> Iterator[np.ndarray]:
    """Yield normal images with noise of their sequence; no two are equal."""
    rng = np.random.default_rng(seed)
    level = grain * rng.uniform(0.9, 1.1)
    base = normal_image(0).astype(np.float32)
    for _ in range(count):
        noisy = base + rng.normal(0, level * rng.uniform(0.8, 1.2), base.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def recording(seed: int, count: int, grain: float, hz: float = HZ) -> Source:
    def read() -> Iterator[RawImage]:
        for number, image in enumerate(frames(seed, count, grain)):
            header = Header(Stamp.from_ns(10**9 + round(number * 1e9 / hz)), 'camera')
            yield RawImage(header, HEIGHT, WIDTH, 'rgb8', 0, 3 * WIDTH, image.reshape(-1))

    return Source(f'drive {seed}', count, read)


def false_alarms_per_hour(bundle: ModelBundle, grain: float) -> float:
    """Return how often the rules of `object` alarm in fresh sequences of this grain."""
    channel = bundle.channels['object']
    reference = np.array(channel.frame_score.reference)
    alarms = 0
    with Runner(bundle) as runner:
        for seed in range(1000, 1010):
            values = [
                scalars(Frame(image), runner)['object'] for image in frames(seed, SEQUENCE, grain)
            ]
            scores = frame_scores(np.array(values), reference)[None]
            active = np.logical_or.reduce([alarming(scores, each, HZ) for each in channel.alarms])
            alarms += int((np.diff(active[0].astype(int), prepend=0) == 1).sum())
    return alarms / (10 * SEQUENCE / HZ / 3600)


@pytest.mark.slow
def test_a_bundle_whose_scores_have_shifted_keeps_its_rate_again(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    def calibrated(name: str, source: ModelBundle, grain: float) -> ModelBundle:
        drives = [recording(seed, SEQUENCE, grain) for seed in range(10)]
        recalibrate(source, drives, tmp_path / name)
        return ModelBundle.load(tmp_path / name)

    before = calibrated('before', ModelBundle.load(tiny_bundle), 6.0)
    spread = np.array(before.channels['object'].frame_score.reference)
    stated = before.channels['object'].certificate.certified_per_hour
    assert stated is not None
    # A camera with a little more grain: the frame statistic is half a deviation higher or more.
    grain = 8.0
    after = calibrated('after', before, grain)
    shifted = np.array(after.channels['object'].frame_score.reference)
    assert np.median(shifted) - np.median(spread) > 0.5 * spread.std()
    certified = after.channels['object'].certificate.certified_per_hour
    assert certified is not None
    assert false_alarms_per_hour(after, grain) <= certified
    assert false_alarms_per_hour(before, grain) > 2 * stated


@pytest.mark.slow
def test_memory_does_not_grow_with_the_hours(tiny_bundle: Path, tmp_path: Path) -> None:
    """One hour and four, at one frame a second; each in a process of its own."""
    code = (
        'import resource, sys\n'
        'from pathlib import Path\n'
        'sys.path[:0] = sys.argv[3:]\n'
        'from calibration.test_long_recordings import recording\n'
        'from ros2_ood_monitor.bundle.model_bundle import ModelBundle\n'
        'from ros2_ood_monitor.calibration.recalibration import recalibrate\n'
        'hours, output = int(sys.argv[1]), Path(sys.argv[2])\n'
        'drives = [recording(seed, 600 * hours, 6.0, 1.0) for seed in range(6)]\n'
        f'recalibrate(ModelBundle.load(Path({str(tiny_bundle)!r})), drives, output)\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n'
    )
    peaks = []
    for hours in (1, 4):
        tests = Path(__file__).parents[1]
        words = [str(hours), str(tmp_path / f'{hours}'), str(tests), str(tests.parent)]
        ended = subprocess.run(
            [sys.executable, '-c', code, *words], capture_output=True, text=True, check=True
        )
        peaks.append(int(ended.stdout))
    assert peaks[1] < 1.1 * peaks[0]
