from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.cli import main
from ros2_ood_monitor.frame import Header, RawImage, Stamp
from ros2_ood_monitor.inference.runner import SelfTestError
from ros2_ood_monitor.messages.cdr import deserialize
from ros2_ood_monitor.messages.conversions import alerts_from_message, rgb_message
from ros2_ood_monitor.recordings.replay import replay

FPS = 10.0
FIRST_NS = 1_700_000_000 * 10**9


@pytest.fixture(scope='module')
def bundle(tiny_bundle: Path) -> ModelBundle:
    loaded = ModelBundle.load(tiny_bundle)
    # The normal image in the middle of what is known, the anomalous one beyond it.
    normal, anomaly = sorted(test.statistics['object'] for test in loaded.selftest)
    reference = tuple(np.linspace(2 * normal - anomaly, (normal + anomaly) / 2, 99))
    channel = loaded.channels['object']
    frame_score = dataclasses.replace(channel.frame_score, reference=reference)
    channel = dataclasses.replace(channel, frame_score=frame_score)
    return dataclasses.replace(loaded, channels={'object': channel})


@pytest.fixture(scope='module')
def shown(bundle: ModelBundle) -> dict[str, np.ndarray]:
    """What the toy bundle calls normal, and what not."""
    images = {}
    for test in bundle.selftest:
        images['anomaly' if test.alarming else 'normal'] = cv2.imread(str(test.path))[..., ::-1]
    return images


class Drive:
    """Writes a recording frame by frame."""

    def __init__(self, shown: dict[str, np.ndarray]) -> None:
        self._images = shown
        self._now_ns = FIRST_NS
        self.images: list[RawImage] = []

    def add(self, kind: str, count: int = 1, **changes) -> Drive:
        for _ in range(count):
            image = self._images[kind].copy()
            image[-1, -1] = len(self.images)  # a living camera
            raw = rgb_message(Header(Stamp.from_ns(self._now_ns), 'lens'), image)
            self.images.append(dataclasses.replace(raw, **changes))
            self._now_ns += round(1e9 / FPS)
        return self

    def pause(self, seconds: float) -> Drive:
        self._now_ns += round(seconds * 1e9)
        return self


@pytest.fixture
def drive(shown) -> Drive:
    return Drive(shown)


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / 'alerts.jsonl').read_text().splitlines()]


def messages(output: Path) -> dict[str, list]:
    found: dict[str, list] = {}
    with (output / 'replay.mcap').open('rb') as stream:
        for schema, channel, message in make_reader(stream).iter_messages():
            found.setdefault(channel.topic, []).append(deserialize(schema.name, message.data))
    return found


def transitions(summary) -> list[str]:
    return [change['state'] for change in summary.transitions]


def test_an_anomaly_is_alerted_and_everything_is_written(bundle, drive, tmp_path):
    drive.add('normal', 10).add('anomaly', 20).add('normal', 30)
    summary = replay(bundle, drive.images, tmp_path / 'out')
    assert (summary.frames, summary.scored, summary.refused) == (60, 60, 0)
    assert summary.recorded_seconds == pytest.approx(5.9)
    order = transitions(summary)
    assert order[:2] == ['INITIALIZING', 'NOMINAL']
    assert 'ALERT' in order
    assert order[-1] == 'NOMINAL'
    alert = next(change for change in summary.transitions if change['state'] == 'ALERT')
    assert 10 <= alert['frame'] < 20
    assert 10 <= summary.highest_score_frame < 30

    output = tmp_path / 'out'
    assert sorted(path.name for path in output.iterdir()) == [
        'alerts.jsonl',
        'overlays',
        'replay.mcap',
        'summary.json',
    ]
    assert json.loads((output / 'summary.json').read_text()) == dataclasses.asdict(summary)
    found = messages(output)
    for topic in ('/ood/segmentation', '/ood/anomaly_map', '/ood/regions', '/ood/score'):
        assert len(found[topic]) == 60, topic
    for message, raw in zip(found['/ood/anomaly_map'], drive.images, strict=True):
        assert message.header == raw.header
    alerts = [alert for message in found['/ood/alert'] for alert in alerts_from_message(message)]
    assert [alert.seq for alert in alerts] == list(range(len(alerts)))
    names = [path.name for path in sorted((output / 'overlays').iterdir())]
    assert names[0] == '000000_nominal.png'
    assert names[-1] == 'most_anomalous.png'
    assert sum('alert' in name for name in names) == summary.frames_by_state['ALERT']
    assert cv2.imread(str(output / 'overlays' / names[-1])).shape == (4 * 48, 4 * 64, 3)


def test_every_image_has_its_line(bundle, drive, tmp_path):
    drive.add('normal', 5).add('normal', 2, encoding='mono16').add('normal', 5)
    replay(bundle, drive.images, tmp_path)
    found = lines(tmp_path)
    numbered = [line for line in found if line['frame'] is not None]
    assert [line['frame'] for line in numbered] == list(range(12))
    assert [line['seq'] for line in found] == sorted(line['seq'] for line in found)
    assert numbered[5]['state'] == 'FAULT'
    assert numbered[5]['causes'][0][:2] == ['FAULT', 'encoding']
    assert numbered[5]['regions'] is None
    assert numbered[4]['seconds'] == pytest.approx(0.4)


def test_a_gap_is_a_silent_camera_and_heartbeats_go_on_in_it(bundle, drive, tmp_path):
    drive.add('normal', 10).pause(2.0).add('normal', 20)
    summary = replay(bundle, drive.images, tmp_path)
    assert transitions(summary) == ['INITIALIZING', 'NOMINAL', 'FAULT', 'NOMINAL']
    fault = summary.transitions[2]
    assert 1.3 <= fault['seconds'] <= 1.5  # the tenth image came at 0.9 s
    assert 'no image' in fault['message']
    stamps = [message.header.stamp.to_ns() for message in messages(tmp_path)['/ood/alert']]
    assert max(np.diff(stamps)) <= 0.1e9


def test_a_gap_of_years_takes_no_time(bundle, drive, tmp_path):
    drive.add('normal', 3).pause(1e8).add('normal', 3)
    assert replay(bundle, drive.images, tmp_path).frames == 6
    assert len(lines(tmp_path)) < 50


def test_stamps_that_go_back_or_are_zero_are_faults_and_time_goes_on(bundle, drive, tmp_path):
    drive.add('normal', 5)
    drive.add('normal', header=Header(Stamp(0, 0), 'lens'))
    drive.add('normal', header=Header(Stamp.from_ns(FIRST_NS), 'lens'))
    drive.add('normal', header=Header(Stamp.from_ns(FIRST_NS - 1), 'lens'))
    drive.add('normal', 20)
    summary = replay(bundle, drive.images, tmp_path)
    codes = [[code for _, code, _ in line['causes']] for line in lines(tmp_path)]
    assert any('stamp_zero' in entry for entry in codes)
    assert any('stamp_back' in entry for entry in codes)
    assert summary.refused == 3
    assert transitions(summary)[-1] == 'NOMINAL'
    seconds = [line['seconds'] for line in lines(tmp_path)]
    assert seconds == sorted(seconds)


def test_the_number_of_images_is_bounded(bundle, drive, tmp_path):
    replay(bundle, drive.add('anomaly', 30).images, tmp_path, overlay_limit=4)
    assert len(list((tmp_path / 'overlays').iterdir())) == 5  # and the most anomalous one


def test_an_earlier_replay_is_replaced_and_foreign_files_stay(bundle, drive, tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    replay(bundle, drive.add('anomaly', 8).images, tmp_path)
    assert len(list((tmp_path / 'overlays').iterdir())) > 2
    replay(bundle, Drive(drive._images).add('normal', 3).images, tmp_path)
    assert {path.name for path in (tmp_path / 'overlays').iterdir()} == {
        '000000_nominal.png',
        'most_anomalous.png',
    }
    assert len(messages(tmp_path)['/ood/score']) == 3
    assert (tmp_path / 'notes.txt').read_text() == 'mine'


def test_a_source_that_breaks_leaves_the_earlier_results_alone(bundle, drive, tmp_path):
    replay(bundle, drive.add('normal', 3).images, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}

    def broken():
        yield from drive.images[:2]
        raise OSError('the disk is gone')

    with pytest.raises(OSError, match='the disk is gone'):
        replay(bundle, broken(), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


def test_no_images_is_a_summary_of_nothing(bundle, tmp_path):
    summary = replay(bundle, [], tmp_path)
    assert summary.frames == 0
    assert '0 images' in summary.text()
    assert (tmp_path / 'replay.mcap').exists()


def test_a_bundle_that_fails_its_self_test_scores_nothing(bundle, drive, tmp_path):
    wrong = tuple(
        dataclasses.replace(t, statistics={'object': t.statistics['object'] + 9})
        for t in bundle.selftest
    )
    with pytest.raises(SelfTestError, match='self-test frame'):
        replay(dataclasses.replace(bundle, selftest=wrong), drive.images, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_replays_a_folder_and_prints_the_summary(tiny_bundle, shown, tmp_path, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(6):
        image = shown['normal'].copy()
        image[0, 0] = number
        cv2.imwrite(str(folder / f'{number:03d}.png'), image[..., ::-1])
    output = tmp_path / 'out'
    words = ['replay', '--bundle', str(tiny_bundle), str(folder), '--output', str(output)]
    assert main([*words, '--rate', '5']) == 0
    printed = capsys.readouterr().out
    assert '6 images (1.0 s of camera time)' in printed
    assert 'NOMINAL' in printed
    assert len(messages(output)['/ood/segmentation']) == 6
