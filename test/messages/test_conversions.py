"""Detections and alerts as ROS messages."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from support.channels import channel_scores

from ros2_ood_monitor.alert import Alert, Cause, State
from ros2_ood_monitor.detection import Detection, Region
from ros2_ood_monitor.frame import Header, Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.cdr import deserialize, serialize
from ros2_ood_monitor.messages.conversions import (
    AlertFormatError,
    alert_message,
    alert_messages,
    alerts_from_message,
    diagnostics_message,
    jpeg_message,
    label_info_message,
    result_messages,
)
from ros2_ood_monitor.messages.types import TYPE_NAMES, Bool, DiagnosticArray, KeyValue
from ros2_ood_monitor.supervision.statistics import Statistics

HEADER = Header(Stamp(1700000000, 123456789), 'camera_optical_frame')
NOW = Stamp(1700000001, 5)
FAULT = Alert(
    'front',
    State.FAULT,
    (
        Cause(State.CAUTION, 'unknown_region', 'ein Würfel; rot'),
        Cause(State.FAULT, 'stale', 'no image for 0.7 s'),
    ),
    1.25,
    3.5,
    8.0,
    41,
    712.5,
    HEADER,
    True,
    False,
)
STARTING = Alert(
    'front',
    State.INITIALIZING,
    (Cause(State.INITIALIZING, 'loading', 'loading'),),
    math.nan,
    0.0,
    math.nan,
    0,
    math.inf,
)


def detection() -> Detection:
    labels = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    anomaly_map = np.array([[0.0, 0.25, np.nan], [0.5, 0.75, 1.0]], np.float32)
    return Detection(
        labels,
        anomaly_map,
        channel_scores(2.0, density=1.5),
        (Region(10, 20, 30, 40, 900, 0.9, 0.6),),
    )


def results() -> dict[topics.Topic, object]:
    return dict(result_messages(HEADER, detection()))


def test_results_carry_the_images_header_unchanged_and_their_topics_type():
    for topic, message in results().items():
        assert TYPE_NAMES[type(message)] == topic.type_name
        if topic is not topics.SCORE:
            assert message.header is HEADER
        # the wire changes nothing
        again = deserialize(topic.type_name, serialize(message))
        assert serialize(again) == serialize(message)


def test_segmentation_is_mono8_with_255_as_unlabeled():
    message = results()[topics.SEGMENTATION]
    assert (message.encoding, message.step, message.height, message.width) == ('mono8', 3, 2, 3)
    assert message.data.tolist() == [0, 1, 255, 2, 2, 0]


def test_anomaly_map_is_32fc1_in_little_endian_and_keeps_nan():
    message = results()[topics.ANOMALY_MAP]
    assert (message.encoding, message.is_bigendian) == ('32FC1', 0)
    assert message.step * message.height == message.data.size
    values = message.data.view('<f4').reshape(2, 3)
    np.testing.assert_array_equal(values, detection().anomaly_map)


def test_a_map_that_is_not_contiguous_is_published_in_order():
    turned = replace(detection(), anomaly_map=detection().anomaly_map.T)
    message = dict(result_messages(HEADER, turned))[topics.ANOMALY_MAP]
    np.testing.assert_array_equal(
        message.data.view('<f4').reshape(3, 2), detection().anomaly_map.T
    )


def test_regions_are_boxes_around_their_centre():
    (region,) = results()[topics.REGIONS].detections
    assert (region.bbox.center.position.x, region.bbox.center.position.y) == (25, 40)
    assert (region.bbox.size_x, region.bbox.size_y) == (30, 40)
    assert region.results[0].hypothesis.class_id == 'unknown'
    assert region.results[0].hypothesis.score == 0.9
    assert region.header is HEADER


def test_jpeg_keeps_red_red():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 255
    message = jpeg_message(HEADER, image, 90)
    bgr = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
    assert bgr[8, 8, 2] > 240
    assert bgr[8, 8, 0] < 20
    assert message.format == 'rgb8; jpeg compressed bgr8'


def test_label_info_names_every_label_and_the_unlabeled_one():
    message = label_info_message(['sky', 'road'], 0.5, NOW)
    assert [(c.class_id, c.class_name) for c in message.class_map] == [
        (0, 'sky'),
        (1, 'road'),
        (255, 'unlabeled'),
    ]
    assert message.threshold == 0.5


def values(message: DiagnosticArray) -> dict[str, str]:
    return {item.key: item.value for item in message.status[0].values}


def test_alert_keys_are_the_documented_interface():
    message = alert_message(FAULT, NOW)
    assert message.header.stamp == NOW
    assert message.status[0].hardware_id == 'front'
    assert message.status[0].message == 'no image for 0.7 s; ein Würfel; rot'
    assert values(message) == {
        'schema': '1',
        'state': 'FAULT',
        'score': '1.25',
        'evidence': '3.5',
        'threshold': '8',
        'seq': '41',
        'age_ms': '712.5',
        'latched': 'true',
        'stamp': '1700000000.123456789',
        'frame_id': 'camera_optical_frame',
        'calibration': 'uncertified',
        'causes': '[["FAULT", "stale", "no image for 0.7 s"], '
        '["CAUTION", "unknown_region", "ein Würfel; rot"]]',
    }


@pytest.mark.parametrize(
    ('state', 'level', 'unsafe'),
    [
        (State.NOMINAL, 0, False),
        (State.CAUTION, 1, False),
        (State.INITIALIZING, 2, True),
        (State.ALERT, 2, True),
        (State.FAULT, 2, True),
    ],
)
def test_level_and_unsafe_follow_the_state(state, level, unsafe):
    messages = dict(alert_messages(replace(FAULT, state=state), NOW))
    assert messages[topics.ALERT].status[0].level == level
    assert messages[topics.UNSAFE] == Bool(unsafe)


@pytest.mark.parametrize('alert', [FAULT, STARTING], ids=lambda alert: alert.state.name)
def test_an_alert_survives_the_wire(alert):
    wire = serialize(alert_message(alert, NOW))
    (received,) = alerts_from_message(deserialize(topics.ALERT.type_name, wire))
    assert repr(received) == repr(
        replace(alert, causes=tuple(sorted(alert.causes, key=lambda cause: -cause.state)))
    )


def test_an_alert_of_0_1_does_not_say_whether_it_is_certified():
    (received,) = alerts_from_message(altered('calibration', None))
    assert received.certified is None


def altered(key: str, value: str | None) -> DiagnosticArray:
    message = alert_message(FAULT, NOW)
    kept = tuple(item for item in message.status[0].values if item.key != key)
    added = () if value is None else (KeyValue(key, value),)
    return replace(message, status=(replace(message.status[0], values=kept + added),))


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('schema', '2'),
        ('schema', None),
        ('state', 'FINE'),
        ('state', None),
        ('score', 'x'),
        ('seq', '1.5'),
        ('age_ms', '-1'),
        ('causes', 'stale'),
        ('causes', '[["FAULT", "x"]]'),
        ('causes', '3'),
        ('stamp', 'now'),
        ('calibration', 'perhaps'),
    ],
)
def test_what_is_not_an_alert_is_refused_by_name(key, value):
    with pytest.raises(AlertFormatError, match='front alert'):
        alerts_from_message(altered(key, value))


def test_diagnostics_report_counts_rates_latencies_and_facts():
    statistics = Statistics(
        100, 90, 3, 1, 6, 30.0, 27.5, {'total': (10.0, 20.0, 30.0), 'backbone': (5.0, 6.0, 7.0)}
    )
    message = diagnostics_message(FAULT, statistics, {'backend': 'openvino'}, NOW)
    found = values(message)
    assert (found['received'], found['judged'], found['dropped']) == ('100', '90', '6')
    assert (found['received_hz'], found['judged_hz']) == ('30', '27.5')
    assert (found['total_ms_p50'], found['total_ms_p99']) == ('10', '30')
    assert json.loads(found['backbone_ms_p95']) == 6
    assert found['backend'] == 'openvino'
    assert message.status[0].level == 2


def test_every_published_topic_is_listed_once_and_the_alert_is_fail_safe():
    names = [topic.name for topic in topics.PUBLISHED]
    assert len(set(names)) == len(names)
    for topic in (topics.ALERT, topics.UNSAFE):
        assert topic.qos.reliable
        assert topic.qos.latched
        assert topic.qos.depth == 1
        assert topic.qos.deadline_ms == 200  # two heartbeats


def test_topics_go_below_a_prefix_unless_absolute():
    assert topics.ALERT.under('front').name == 'front/ood/alert'
    assert topics.ALERT.under('').name == 'ood/alert'
    assert topics.DIAGNOSTICS.under('front').name == '/diagnostics'
