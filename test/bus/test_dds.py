"""The DDS participant, with real processes and sockets on the loopback interface."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.dds_domain import own_domain

from ros2_ood_monitor.bus.base import MiddlewareError, resolve_name
from ros2_ood_monitor.frame import Header, RawCompressedImage, Stamp
from ros2_ood_monitor.messages.cdr import deserialize
from ros2_ood_monitor.messages.definitions import DEFINITIONS
from ros2_ood_monitor.messages.topics import (
    ALERT,
    IMAGE,
    SCORE,
    UNSAFE,
    Qos,
    Topic,
    camera_input,
    camera_output,
)
from ros2_ood_monitor.messages.type_hashes import type_hash
from ros2_ood_monitor.messages.types import (
    Bool,
    DiagnosticArray,
    DiagnosticStatus,
    Float32,
    KeyValue,
)

pytest.importorskip('cyclonedds', reason='pip install cyclonedds')

from cyclonedds import builtin
from cyclonedds.core import Policy, ReadCondition, WaitSet
from cyclonedds.domain import DomainParticipant
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic as DdsTopic
from cyclonedds.util import duration
from support.dds_processes import (
    PATIENCE_S,
    Inbox,
    camera_process,
    image,
    late_joiner_process,
    stuck_process,
    wait_until,
)

from ros2_ood_monitor.bus import dds
from ros2_ood_monitor.bus.dds import DdsMiddleware
from ros2_ood_monitor.bus.dds_types import dds_qos, dds_type

pytestmark = pytest.mark.alone

SPAWN = multiprocessing.get_context('spawn')


@pytest.fixture
def domain() -> Iterator[int]:
    with own_domain() as number:
        yield number


@pytest.fixture
def node(domain: int) -> Iterator[DdsMiddleware]:
    middleware = DdsMiddleware('monitor', 'front', domain)
    yield middleware
    middleware.close()


def test_a_720p_stream_at_30_hz_arrives_complete_and_unchanged(domain, node):
    inbox = Inbox()
    node.subscribe(camera_input('image_raw'), inbox)
    process = SPAWN.Process(target=camera_process, args=(domain, 90, 30.0))
    process.start()
    frames = inbox.wait(90)
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert [frame.header for frame in frames] == [Header(Stamp(n, 5), 'cam') for n in range(90)]
    for number, frame in enumerate(frames):
        assert (frame.width, frame.height, frame.encoding, frame.step) == (1280, 720, 'rgb8', 3840)
        assert frame.data.size == 1280 * 720 * 3
        assert frame.data.min() == frame.data.max() == number


def test_a_late_joiner_gets_the_latest_alert_at_once(domain, node):
    def alert(number: int) -> DiagnosticArray:
        status = DiagnosticStatus(2, 'n', 'é', 'front', (KeyValue('seq', str(number)),))
        return DiagnosticArray(Header(Stamp(number), ''), (status,))

    for number in range(3):
        node.publish(ALERT, alert(number))
    results = SPAWN.Queue()
    process = SPAWN.Process(target=late_joiner_process, args=(domain, results))
    process.start()
    assert results.get(timeout=PATIENCE_S) == alert(2)
    process.join(PATIENCE_S)


def test_a_result_that_is_not_latched_is_not_given_to_late_joiners(domain, node):
    node.publish(SCORE, Float32(1.0))
    late, inbox = DdsMiddleware('late', 'front', domain), Inbox()
    late.subscribe(SCORE, inbox)
    wait_until(lambda: node.subscriber_count(SCORE) == 1)
    node.publish(SCORE, Float32(2.0))
    assert inbox.wait(1) == [Float32(2.0)]
    late.close()


@pytest.mark.parametrize(
    ('reliable_camera', 'reliable_reader', 'connects'),
    [(True, True, True), (True, False, True), (False, False, True), (False, True, False)],
)
def test_reliability_matching(domain, node, reliable_camera, reliable_reader, connects):
    camera, inbox = DdsMiddleware('camera', 'front', domain), Inbox()
    offered = Topic('image', IMAGE, Qos(reliable=reliable_camera))
    requested = Topic('image', IMAGE, Qos(reliable=reliable_reader))
    control = Topic('control', IMAGE, Qos(reliable=True))
    camera.advertise(offered)
    node.subscribe(requested, inbox)
    node.subscribe(control, inbox)
    # Endpoints of a participant are discovered in order: once the control is matched, the
    # question for the first pair is settled.
    wait_until(lambda: camera.subscriber_count(control) == 1)
    assert camera.subscriber_count(offered) == int(connects)
    assert node.publisher_count(requested) == int(connects)
    camera.publish(offered, image(1, 8, 8))
    camera.publish(control, image(2, 8, 8))
    stamps = [message.header.stamp.sec for message in inbox.wait(2 if connects else 1)]
    assert stamps == ([1, 2] if connects else [2])
    camera.close()


def test_the_monitors_camera_input_hears_sensor_data_and_reliable_cameras():
    assert not camera_input('image').qos.reliable
    assert not camera_input('image').qos.latched
    assert camera_output('image').qos.reliable


def test_a_subscriber_that_stands_still_does_not_hold_up_the_others(domain, node):
    overlay = camera_output('overlay')
    healthy, inbox = DdsMiddleware('healthy', 'front', domain), Inbox()
    healthy.subscribe(UNSAFE, inbox)
    node.advertise(UNSAFE)
    node.advertise(overlay)
    ready = SPAWN.Event()
    process = SPAWN.Process(target=stuck_process, args=(domain, ready))
    process.start()
    try:
        assert ready.wait(PATIENCE_S)
        wait_until(lambda: node.subscriber_count(overlay) == 1)
        wait_until(lambda: node.subscriber_count(UNSAFE) == 2)
        os.kill(process.pid, signal.SIGSTOP)
        slowest = {UNSAFE: 0.0, overlay: 0.0}
        for number in range(10):
            for topic, message in ((UNSAFE, Bool(True)), (overlay, image(number, 640, 480))):
                begin = time.monotonic()
                node.publish(topic, message)
                slowest[topic] = max(slowest[topic], time.monotonic() - begin)
            inbox.wait(number + 1)
        assert slowest[UNSAFE] < 0.1
        assert slowest[overlay] < 0.5
    finally:
        process.kill()
        process.join(PATIENCE_S)
        healthy.close()


def take_one(reader: DataReader) -> Any:
    waitset = WaitSet(reader.participant)
    waitset.attach(ReadCondition(reader, dds._ANY))
    assert waitset.wait(duration(seconds=PATIENCE_S))
    return reader.take(N=1)[0]


def test_ros_tools_see_the_node_and_the_types_of_its_topics(domain, node):
    node.advertise(ALERT)
    node.subscribe(camera_input('image'), lambda message: None)
    observer = DomainParticipant(domain)
    topic = DdsTopic(observer, 'ros_discovery_info', dds_type(dds._DISCOVERY_INFO.type_name))
    reader = DataReader(observer, topic, dds_qos(dds._DISCOVERY_INFO, publisher=False))
    info = take_one(reader)
    (entry,) = info.node_entities_info_seq
    assert (entry.node_namespace, entry.node_name) == ('/front', 'monitor')
    assert len(entry.reader_gid_seq) == len(entry.writer_gid_seq) == 1

    publications = builtin.BuiltinDataReader(observer, builtin.BuiltinTopicDcpsPublication)
    wait_until(lambda: len(publications.read(N=100)) >= 2)
    found = {sample.topic_name: sample for sample in publications.read(N=100)}
    sample = found['rt/front/ood/alert']
    assert sample.type_name == 'diagnostic_msgs::msg::dds_::DiagnosticArray_'
    assert sample.key.bytes == bytes(entry.writer_gid_seq[0].data)
    assert sample.qos[Policy.Userdata].data.decode() == f'typehash={type_hash(ALERT.type_name)};'
    assert sample.qos[Policy.Deadline].deadline == duration(milliseconds=200)

    participants = builtin.BuiltinDataReader(observer, builtin.BuiltinTopicDcpsParticipant)
    user_data = [
        sample.qos[Policy.Userdata].data
        for sample in participants.read(N=100)
        if sample.key.bytes == bytes(info.gid.data)
    ]
    assert user_data == [b'enclave=/;']


@pytest.mark.parametrize('type_name', sorted(DEFINITIONS))
def test_every_message_type_has_a_dds_type(type_name):
    package, message = type_name.split('/msg/')
    transformed = dds_type(type_name).__idl__.idl_transformed_typename
    assert transformed == f'{package}::msg::dds_::{message}_'


def test_bytes_that_do_not_fit_the_type_are_refused(node, monkeypatch):
    node.advertise(ALERT)
    monkeypatch.setattr(dds, 'serialize', lambda message: b'\x00\x01\x00\x00\xff\xff\xff\xff')
    with pytest.raises(MiddlewareError, match='ood/alert'):
        node.publish(ALERT, DiagnosticArray(Header(), ()))


def test_a_failing_callback_and_a_malformed_message_do_not_end_reception(
    domain, node, monkeypatch, caplog
):
    camera, inbox = DdsMiddleware('camera', 'front', domain), Inbox()

    def broken_once(message: Any) -> None:
        inbox(message)
        if len(inbox.messages) == 1:
            raise RuntimeError('subscriber bug')

    compressed = camera_input('image/compressed', compressed=True)
    node.subscribe(compressed, broken_once)
    topic = camera_output('image/compressed', compressed=True)
    camera.advertise(topic)
    wait_until(lambda: camera.subscriber_count(topic) == 1)

    def send(data: list[int], received: int) -> None:
        camera.publish(topic, RawCompressedImage(Header(), 'png', np.array(data, np.uint8)))
        assert inbox.wait(received)[-1].data.tolist() == data

    send([1, 2], 1)
    # Cyclone DDS itself keeps most malformed bytes from us, so break the decoding of one.
    broken_decodes = iter([lambda name, data: deserialize(name, data[:6])])
    monkeypatch.setattr(
        dds,
        'deserialize',
        lambda name, data: next(broken_decodes, deserialize)(name, data),
    )
    camera.publish(topic, RawCompressedImage(Header(), 'png', np.zeros(1, np.uint8)))
    wait_until(lambda: 'malformed' in caplog.text)
    send([3], 2)
    assert 'subscriber bug' in caplog.text
    camera.close()


def test_close_is_idempotent_and_ends_publishing(domain):
    middleware = DdsMiddleware('monitor', '', domain)
    middleware.publish(SCORE, Float32(1.0))
    middleware.close()
    middleware.close()
    with pytest.raises(MiddlewareError, match='closed'):
        middleware.publish(SCORE, Float32(1.0))
    assert not [t for t in threading.enumerate() if t.name == 'dds-receive']


def test_environment_chooses_domain_and_reach(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    assert dds.domain_from_environment() == 42
    for bad in ('233', '-1', 'x'):
        monkeypatch.setenv('ROS_DOMAIN_ID', bad)
        with pytest.raises(MiddlewareError, match='ROS_DOMAIN_ID'):
            DdsMiddleware('monitor')
    monkeypatch.delenv('ROS_LOCALHOST_ONLY', raising=False)
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE', raising=False)
    assert dds.loopback_from_environment()
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    assert not dds.loopback_from_environment()
    monkeypatch.setenv('ROS_LOCALHOST_ONLY', '1')
    assert dds.loopback_from_environment()


def test_the_users_cyclonedds_configuration_counts_only_off_loopback(monkeypatch):
    monkeypatch.setenv('CYCLONEDDS_URI', 'file:///etc/dds.xml')
    assert dds.configuration(loopback=False).endswith(',file:///etc/dds.xml')
    assert 'dds.xml' not in dds.configuration(loopback=True)
    assert '127.0.0.1' in dds.configuration(loopback=True)
    assert '127.0.0.1' not in dds.configuration(loopback=False)


@pytest.mark.parametrize(
    ('name', 'namespace', 'full'),
    [
        ('ood/alert', '', '/ood/alert'),
        ('ood/alert', 'front', '/front/ood/alert'),
        ('ood/alert', '/robot/front', '/robot/front/ood/alert'),
        ('/diagnostics', 'front', '/diagnostics'),
    ],
)
def test_names_are_resolved_as_ros_does(name, namespace, full):
    assert resolve_name(name, namespace) == full


@pytest.mark.parametrize('name', ['', '/', 'a b', 'camera/1st', 'front-camera', 'image/'])
def test_names_ros_would_refuse_are_refused(name):
    with pytest.raises(MiddlewareError, match='not a ROS 2 name'):
        resolve_name(name, '')
