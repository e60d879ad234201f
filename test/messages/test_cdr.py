"""The CDR codec and the type hashes, against bytes and hashes recorded from a real rclpy."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_ood_monitor.frame import Header, RawImage, Stamp
from ros2_ood_monitor.messages.cdr import CdrError, deserialize, serialize
from ros2_ood_monitor.messages.definitions import DEFINITIONS, fields
from ros2_ood_monitor.messages.type_hashes import type_hash
from ros2_ood_monitor.messages.types import (
    CLASSES,
    TYPE_NAMES,
    Bool,
    DiagnosticArray,
    DiagnosticStatus,
    Float32,
    KeyValue,
    NodeEntitiesInfo,
    VisionClass,
)

ROOT = Path(__file__).parents[1]
RECORDED = json.loads((ROOT / 'golden' / 'golden_cdr.json').read_text())
SHARED = Path(os.environ.get('OOD_SHARED', ROOT.parent.parent / 'shared'))
SHARED_GOLDEN = SHARED / 'ros' / 'golden_cdr.json'


@dataclass(frozen=True)
class RegionOfInterest:
    x_offset: int
    y_offset: int
    height: int
    width: int
    do_rectify: bool


@dataclass(frozen=True)
class CameraInfo:
    header: Header
    height: int
    width: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    binning_x: int
    binning_y: int
    roi: RegionOfInterest


@dataclass(frozen=True)
class Float64:
    data: float


@dataclass(frozen=True)
class String:
    data: str


FOREIGN = {
    'sensor_msgs/msg/RegionOfInterest': (
        RegionOfInterest,
        'uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify',
    ),
    'sensor_msgs/msg/CameraInfo': (
        CameraInfo,
        'std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\n'
        'float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\nuint32 binning_x\n'
        'uint32 binning_y\nsensor_msgs/RegionOfInterest roi',
    ),
    'std_msgs/msg/Float64': (Float64, 'float64 data'),
    'std_msgs/msg/String': (String, 'string data'),
}
"""Types the package does not speak; with them more of the recorded bytes test the codec."""


@pytest.fixture(autouse=True)
def foreign_types(monkeypatch):
    for name, (cls, definition) in FOREIGN.items():
        monkeypatch.setitem(DEFINITIONS, name, definition)
        monkeypatch.setitem(CLASSES, name, cls)
        monkeypatch.setitem(TYPE_NAMES, cls, name)
    yield
    fields.cache_clear()


def build(type_name: str, values: dict[str, Any]) -> Any:
    """Make a message from the nested dictionaries of a recording."""
    arguments = []
    for item in fields(type_name):
        value = values[item.name]
        if item.nested and item.count is None:
            value = build(item.type_name, value)
        elif item.nested:
            value = tuple(build(item.type_name, element) for element in value)
        elif item.type_name == 'uint8' and item.count is not None:
            value = np.array(value, np.uint8)
        elif item.count is not None:
            value = tuple(value)
        arguments.append(value)
    return CLASSES[type_name](*arguments)


def check_vector(vector: dict[str, Any]) -> None:
    expected = bytes.fromhex(vector['cdr_hex'])
    assert serialize(deserialize(vector['type'], expected)) == expected
    if 'fields' in vector:
        assert serialize(build(vector['type'], vector['fields'])).hex() == vector['cdr_hex']


@pytest.mark.parametrize('vector', RECORDED['vectors'], ids=lambda vector: vector['label'])
def test_recorded_bytes_are_reproduced(vector):
    check_vector(vector)


@pytest.mark.parametrize('type_name', RECORDED['type_hashes'])
def test_recorded_type_hashes_are_computed(type_name):
    assert type_hash(type_name) == RECORDED['type_hashes'][type_name]


def test_all_shared_vectors_and_hashes_are_reproduced():
    if not SHARED_GOLDEN.exists():
        pytest.skip(f'{SHARED_GOLDEN} is not there; the recorded vectors were tested')
    golden = json.loads(SHARED_GOLDEN.read_text())
    known = [vector for vector in golden['vectors'] if vector['type'] in CLASSES]
    assert {name for name in CLASSES if name in golden['type_hashes']} >= {
        'sensor_msgs/msg/Image',
        'diagnostic_msgs/msg/DiagnosticArray',
        'std_msgs/msg/Bool',
        'vision_msgs/msg/Detection2DArray',
        'sensor_msgs/msg/CameraInfo',
    }
    assert len(known) >= 20
    for vector in known:
        check_vector(vector)
    for name in CLASSES:
        if name in golden['type_hashes']:
            assert type_hash(name) == golden['type_hashes'][name], name


def test_every_dataclass_has_the_fields_of_its_definition():
    assert set(DEFINITIONS) == set(CLASSES)
    for name, cls in CLASSES.items():
        assert [item.name for item in fields(name)] == [f.name for f in dataclass_fields(cls)]


def image(data: np.ndarray) -> RawImage:
    return RawImage(Header(Stamp(1, 2), 'cam'), 1, data.size, 'mono8', 0, data.size, data)


def test_image_data_is_a_view_into_the_received_bytes():
    received = serialize(image(np.arange(64, dtype=np.uint8)))
    data = deserialize('sensor_msgs/msg/Image', received).data
    assert not data.flags.owndata
    assert not data.flags.writeable
    np.testing.assert_array_equal(data, np.arange(64))


def test_non_contiguous_image_data_is_written_in_order():
    data = np.arange(20, dtype=np.uint8)[::2]
    decoded = deserialize('sensor_msgs/msg/Image', serialize(image(data)))
    np.testing.assert_array_equal(decoded.data, data)


def test_big_endian_bytes_are_read():
    received = b'\x00\x00\x00\x00' + struct.pack('>f', 1.5)
    assert deserialize('std_msgs/msg/Float32', received) == Float32(1.5)


def test_padding_to_four_bytes_is_accepted():
    received = serialize(Bool(True)) + b'\0\0\0'
    assert deserialize('std_msgs/msg/Bool', received) == Bool(True)


texts = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=12)
statuses = st.builds(
    DiagnosticStatus,
    st.integers(0, 255),
    texts,
    texts,
    texts,
    st.lists(st.builds(KeyValue, texts, texts), max_size=3).map(tuple),
)
arrays = st.builds(
    DiagnosticArray,
    st.builds(
        Header,
        st.builds(Stamp, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)),
        texts,
    ),
    st.lists(statuses, max_size=3).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(arrays)
def test_round_trip(message):
    assert deserialize('diagnostic_msgs/msg/DiagnosticArray', serialize(message)) == message


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(sorted(DEFINITIONS)))
def test_random_bytes_are_a_message_or_a_cdr_error(noise, type_name):
    with contextlib.suppress(CdrError):
        assert isinstance(deserialize(type_name, b'\x00\x01\x00\x00' + noise), CLASSES[type_name])


@pytest.mark.parametrize('vector', RECORDED['vectors'], ids=lambda vector: vector['label'])
def test_every_truncation_is_refused(vector):
    complete = bytes.fromhex(vector['cdr_hex'])
    for length in range(len(complete)):
        with pytest.raises(CdrError):
            deserialize(vector['type'], complete[:length])


@pytest.mark.parametrize(
    ('received', 'reason'),
    [
        (b'', 'encapsulation'),
        (b'\x00\x07\x00\x00\x01', 'not plain CDR'),  # XCDR2
        (serialize(Bool(True)) + bytes(8), 'left over'),
    ],
)
def test_foreign_bytes_are_refused_with_a_reason(received, reason):
    with pytest.raises(CdrError, match=reason):
        deserialize('std_msgs/msg/Bool', received)


def test_string_without_nul_and_text_that_is_not_utf8_are_refused():
    for text in (b'ab', b'\xff\x00'):
        with pytest.raises(CdrError, match='KeyValue'):
            deserialize(
                'diagnostic_msgs/msg/KeyValue',
                b'\x00\x01\x00\x00' + struct.pack('<I', len(text)) + text + bytes(6),
            )


@pytest.mark.parametrize(
    ('message', 'field'),
    [
        (VisionClass(70000, 'x'), 'class_id'),
        (KeyValue('a\0b', ''), 'key'),
        (NodeEntitiesInfo('/', 'n' * 257, (), ()), 'node_name'),
        (image(np.zeros(4, np.float32)), 'data'),
        (Float32(1e40), 'data'),
    ],
)
def test_values_that_do_not_fit_are_refused_by_field(message, field):
    with pytest.raises(CdrError, match=field):
        serialize(message)


def test_unknown_types_are_refused():
    with pytest.raises(CdrError, match='pkg/msg/Unknown'):
        deserialize('pkg/msg/Unknown', b'\x00\x01\x00\x00')
    with pytest.raises(CdrError, match='object'):
        serialize(object())
