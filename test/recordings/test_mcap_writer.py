"""MCAP bags and the black box, read back with other people's readers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from support.channels import channel_scores

from ros2_ood_monitor.alert import Alert, State
from ros2_ood_monitor.detection import Detection, Region
from ros2_ood_monitor.frame import Header, Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import (
    alert_messages,
    jpeg_message,
    label_info_message,
    result_messages,
    rgb_message,
)
from ros2_ood_monitor.messages.definitions import DEFINITIONS
from ros2_ood_monitor.messages.types import Bool, Float32
from ros2_ood_monitor.node import black_box
from ros2_ood_monitor.node.black_box import BlackBox, BlackBoxError
from ros2_ood_monitor.recordings.mcap_writer import McapWriter

HEADER = Header(Stamp(12, 34), 'camera_optical_frame')


def alert(state: State = State.NOMINAL, camera: str = 'front') -> Alert:
    return Alert(camera, state, (), 0.5, 1.0, 8.0, 3, 20.0, HEADER)


def everything() -> list[tuple[topics.Topic, object]]:
    rng = np.random.default_rng(0)
    detection = Detection(
        rng.integers(0, 4, (6, 8), dtype=np.uint8),
        rng.random((6, 8), dtype=np.float32),
        channel_scores(2.5),
        (Region(1, 2, 3, 4, 9, 0.9, 0.7),),
    )
    image = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return [
        *result_messages(HEADER, detection),
        *alert_messages(alert(), Stamp(13, 0)),
        (topics.LABEL_INFO, label_info_message(['sky', 'road'], 0.5, Stamp(1, 0))),
        (topics.OVERLAY, rgb_message(HEADER, image)),
        (topics.OVERLAY_COMPRESSED, jpeg_message(HEADER, image, 80)),
    ]


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    path = tmp_path / 'new' / 'bag.mcap'
    with McapWriter(path) as writer:
        for number, (topic, message) in enumerate(everything()):
            writer.write(topic, message, 1_000_000_000 + number)
    return path


def test_mcap_ros2_decodes_every_message_with_its_schema(bag):
    with bag.open('rb') as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == 'ros2'
        decoded = {
            channel.topic: (schema.name, message)
            for schema, channel, _, message in reader.iter_decoded_messages()
        }
    assert set(decoded) == {f'/{topic.name}' for topic, _ in everything()}
    for topic, _ in everything():
        assert decoded[f'/{topic.name}'][0] == topic.type_name
    segmentation = decoded['/ood/segmentation'][1]
    assert (segmentation.header.stamp.sec, segmentation.encoding) == (12, 'mono8')
    assert decoded['/ood/regions'][1].detections[0].bbox.center.position.x == 2.5
    assert decoded['/ood/alert'][1].status[0].values[1].value == 'NOMINAL'
    assert [c.class_name for c in decoded['/ood/label_info'][1].class_map] == [
        'sky',
        'road',
        'unlabeled',
    ]


def test_rosbags_reads_the_bag_and_agrees_on_every_definition(bag):
    with AnyReader([bag]) as reader:
        types = {connection.topic: connection.msgtype for connection in reader.connections}
        messages = {
            connection.topic: reader.deserialize(data, connection.msgtype)
            for connection, _, data in reader.messages()
        }
    assert types['/ood/regions'] == 'vision_msgs/msg/Detection2DArray'
    assert messages['/ood/score'].data == 2.5
    data = messages['/ood/anomaly_map'].data.view(np.float32).reshape(6, 8)
    np.testing.assert_array_equal(data, everything_map())


def everything_map() -> np.ndarray:
    rng = np.random.default_rng(0)
    rng.integers(0, 4, (6, 8), dtype=np.uint8)
    return rng.random((6, 8), dtype=np.float32)


def test_every_message_type_can_be_recorded_with_a_parsable_definition(tmp_path):
    from rosbags.typesys import get_types_from_msg

    from ros2_ood_monitor.recordings.mcap_writer import message_definition

    for type_name in DEFINITIONS:
        parsed = get_types_from_msg(message_definition(type_name), type_name)
        assert type_name in parsed


def test_a_bag_appears_only_when_complete(tmp_path):
    path = tmp_path / 'bag.mcap'
    writer = McapWriter(path)
    writer.write(topics.SCORE, Float32(1.0), 1)
    assert not path.exists()
    writer.close()
    writer.close()
    assert path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ['bag.mcap']


def test_a_failure_keeps_the_old_bag_and_leaves_nothing_behind(bag):
    before = bag.read_bytes()

    def fail() -> None:
        with McapWriter(bag) as writer:
            writer.write(topics.SCORE, Float32(1.0), 1)
            raise RuntimeError('interrupted')

    with pytest.raises(RuntimeError, match='interrupted'):
        fail()
    assert bag.read_bytes() == before
    assert [entry.name for entry in bag.parent.iterdir()] == ['bag.mcap']


SECOND = 1_000_000_000


def scores(path: Path) -> list[int]:
    with path.open('rb') as stream:
        return [message.log_time for _, _, message in make_reader(stream).iter_messages()]


def wait_for_bags(directory: Path, count: int) -> list[Path]:
    deadline = time.monotonic() + 10
    while len(found := sorted(directory.glob('*.mcap'))) < count:
        assert time.monotonic() < deadline, 'the black box wrote no bag'
        time.sleep(0.01)
    return found


def test_the_black_box_writes_what_came_before_and_after_the_alert(tmp_path):
    box = BlackBox(tmp_path, seconds=0.5, ring_bytes=10**6, quota_bytes=10**8)
    for number in range(10):
        box.record(topics.SCORE, Float32(number), number * SECOND // 10)
    box.watch(alert(State.CAUTION))
    assert not list(tmp_path.iterdir())
    box.watch(alert(State.ALERT))
    box.record(topics.UNSAFE, Bool(True), SECOND)
    (path,) = wait_for_bags(tmp_path, 1)
    assert path.name.startswith('front_')
    assert scores(path) == [n * SECOND // 10 for n in range(5, 11)]
    box.close()


def test_one_alert_makes_one_bag_and_the_next_another(tmp_path):
    box = BlackBox(tmp_path, seconds=0.05, ring_bytes=10**6, quota_bytes=10**8)
    for state in (State.ALERT, State.ALERT, State.ALERT):
        box.watch(alert(state))
        wait_for_bags(tmp_path, 1)
    box.watch(alert(State.NOMINAL))
    box.watch(alert(State.ALERT))
    wait_for_bags(tmp_path, 2)
    box.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_ring_stays_within_its_bytes(tmp_path):
    box = BlackBox(tmp_path, seconds=100.0, ring_bytes=80, quota_bytes=10**8)
    for number in range(100):
        box.record(topics.SCORE, Float32(number), number)  # 8 bytes each
    box.watch(alert(State.ALERT))
    box.close()
    (path,) = tmp_path.glob('*.mcap')
    assert scores(path) == list(range(90, 100))


def test_the_oldest_bags_are_deleted_for_the_quota(tmp_path):
    for number in range(5):
        old = tmp_path / f'front_{number}.mcap'
        old.write_bytes(bytes(1000))
    box = BlackBox(tmp_path, seconds=0.01, ring_bytes=500, quota_bytes=3000)
    box.watch(alert(State.ALERT))
    box.close()
    names = {entry.name for entry in tmp_path.iterdir()}
    assert len(names) == 3
    assert {'front_3.mcap', 'front_4.mcap'} < names
    assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) <= 3000


def test_a_full_disk_is_logged_and_survived(tmp_path, caplog):
    blocked = tmp_path / 'file'
    blocked.write_text('not a directory')
    box = BlackBox(blocked, seconds=0.01, ring_bytes=500, quota_bytes=3000)
    box.watch(alert(State.ALERT))
    box.close()
    assert 'black box cannot write' in caplog.text
    assert not [t for t in threading.enumerate() if t.name == 'black-box']


def test_the_black_box_names_the_extra_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(black_box.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(BlackBoxError, match=r"mcap.*pip install '\.\[bags\]'"):
        BlackBox(tmp_path, seconds=1.0, ring_bytes=1, quota_bytes=1)


@pytest.mark.parametrize('name', ['node.monitor_node', 'recordings.sources', 'recordings.replay'])
def test_no_module_asks_for_mcap_before_a_bag_is_opened(name):
    code = (
        'import importlib, sys; '
        f'importlib.import_module("ros2_ood_monitor.{name}"); '
        'assert "mcap" not in sys.modules'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
