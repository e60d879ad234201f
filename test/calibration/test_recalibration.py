"""`ood-monitor calibrate`: new normal recordings, the same networks, another bundle."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.calibration.recalibration import recalibrate
from ros2_ood_monitor.calibration.recording import columns
from ros2_ood_monitor.cli import main
from ros2_ood_monitor.recordings.sources import open_source


@pytest.fixture(scope='module')
def drives(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six folders of 40 noisy frames of what the toy bundle calls normal."""
    bundle = ModelBundle.load(tiny_bundle)
    (normal,) = (each for each in bundle.selftest if not each.alarming)
    image = cv2.imread(str(normal.path))
    rng = np.random.default_rng(0)
    folders = []
    for number in range(6):
        folder = tmp_path_factory.mktemp(f'drive{number}')
        for frame in range(40):
            noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f'{frame:04d}.png'), noisy)
        folders.append(folder)
    return folders


def run(bundle: Path, drives: list[Path], output: Path, *options: str) -> int:
    words = ['calibrate', '--bundle', str(bundle), '--output', str(output), '--rate', '10']
    return main([*words, *map(str, drives), *options])


def test_a_bundle_is_calibrated_on_new_recordings(tiny_bundle, drives, tmp_path, capsys):
    output = tmp_path / 'new'
    assert run(tiny_bundle, drives, output) == 0
    old, new = ModelBundle.load(tiny_bundle), ModelBundle.load(output)
    assert new.networks['backbone'].sha256 == old.networks['backbone'].sha256
    channel = new.channels['object']
    assert len(channel.frame_score.reference) == 240
    assert [each.drift for each in channel.alarms] == sorted(
        (each.drift for each in channel.alarms), reverse=True
    )
    assert len(channel.alarms) == 2
    assert channel.certificate.certified
    assert channel.certificate.sequences == 6
    assert channel.certificate.frame_rate == pytest.approx(10.0)
    assert channel.regions.sensitive_threshold <= channel.regions.threshold
    assert new.provenance['recalibrated']['sources'] == [str(each) for each in drives]
    text = capsys.readouterr().out
    table = text.split('\n\n')[0].splitlines()
    assert max(map(len, table)) <= 80
    assert any('certified per hour' in line for line in table)
    assert 'h more of driving' in text


def test_fewer_than_five_sequences_certify_nothing(tiny_bundle, drives, tmp_path, capsys):
    assert run(tiny_bundle, drives[:4], tmp_path / 'new') == 0
    bundle = ModelBundle.load(tmp_path / 'new')
    assert not bundle.certified
    assert bundle.channels['object'].certificate.certified_per_hour is None
    assert 'UNCERTIFIED' in capsys.readouterr().out


def test_a_killed_run_goes_on(tiny_bundle, drives, tmp_path):
    bundle = ModelBundle.load(tiny_bundle)
    sources = [open_source(each, 10.0) for each in drives]
    whole = recalibrate(bundle, sources, tmp_path / 'whole')
    seen = []

    def stop_in_the_third(rows, source):
        for _ in rows:
            seen.append(source.name)
            yield
            if len(seen) == 100:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recalibrate(bundle, sources, tmp_path / 'new', show=stop_in_the_third)
    assert not (tmp_path / 'new').exists()
    width = 8 * (1 + len(columns(dict(bundle.channels))))
    records = sorted(
        (tmp_path / 'new.records').glob('*.f64'), key=lambda file: file.stat().st_size
    )
    with records[0].open('ab') as file:
        file.write(b'torn')  # a row that was not finished
    assert sum(file.stat().st_size // width for file in records) == 100
    again = []

    def count(rows, source):
        for _ in rows:
            again.append(source.name)
            yield

    found = recalibrate(bundle, sources, tmp_path / 'new', resume=True, show=count)
    assert len(again) == 140
    assert found.after == whole.after


def test_changed_sources_are_scored_again(tiny_bundle, drives, tmp_path):
    bundle = ModelBundle.load(tiny_bundle)
    sources = [open_source(each, 10.0) for each in drives[:2]]
    recalibrate(bundle, sources, tmp_path / 'new')
    notes = list((tmp_path / 'new.records').glob('*.json'))
    note = json.loads(notes[0].read_text())
    note['properties']['min_area'] += 1
    notes[0].write_text(json.dumps(note))
    frames = []

    def count(rows, source):
        for _ in rows:
            frames.append(source.name)
            yield

    recalibrate(bundle, sources, tmp_path / 'new', resume=True, show=count)
    assert len(frames) == 40
