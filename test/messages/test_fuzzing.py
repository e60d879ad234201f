"""Bytes that are almost a message: refused with the codec's own error, or read; nothing else."""

from __future__ import annotations

import random
import time

import cv2
import numpy as np
import pytest

from ros2_ood_monitor.alert import Alert, Cause, State
from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp
from ros2_ood_monitor.messages.cdr import CdrError, deserialize, serialize
from ros2_ood_monitor.messages.conversions import (
    AlertFormatError,
    alert_message,
    alerts_from_message,
)
from ros2_ood_monitor.messages.definitions import DEFINITIONS
from ros2_ood_monitor.messages.types import DiagnosticArray
from ros2_ood_monitor.supervision.decoding import (
    ENCODINGS,
    InputFault,
    check_image,
    decode_compressed,
)

ALERT = Alert(
    'front',
    State.ALERT,
    (Cause(State.ALERT, 'unknown_view', 'an unknown view'),),
    *(1.5, 9.0, 8.0, 7, 12.5),
    Header(Stamp(3, 4), 'front_optical'),
)
LONG = pytest.param(120.0, marks=[pytest.mark.campaign, pytest.mark.timeout(600)])
BUDGET = pytest.mark.parametrize('seconds', [0.3, LONG])


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat and insert bytes; every length field is hit sooner or later."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] = rng.choice((0, 1, 127, 128, 255, changed[at] ^ 1 << rng.randrange(8)))
        elif kind == 1:
            del changed[at : at + rng.randint(1, 8)]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            changed[at:at] = changed[at : at + rng.randint(1, 16)]
    return bytes(changed)


@BUDGET
def test_almost_messages(seconds, record_property):
    rng = random.Random(1)
    valid = serialize(alert_message(ALERT, Stamp(1)))
    types = sorted(DEFINITIONS)
    refused = read = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(rng, valid)
        for type_name in ('diagnostic_msgs/msg/DiagnosticArray', rng.choice(types)):
            try:
                message = deserialize(type_name, data)
                if isinstance(message, DiagnosticArray):
                    alerts_from_message(message)
                read += 1
            except (CdrError, AlertFormatError):
                refused += 1
    record_property('refused', f'{refused:,}')
    record_property('read', f'{read:,}')
    assert refused > 100 * seconds


@BUDGET
def test_almost_images(seconds, record_property):
    rng = random.Random(2)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    encoded = [cv2.imencode(suffix, pixels)[1].tobytes() for suffix in ('.jpg', '.png')]
    refused = read = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = np.frombuffer(mutated(rng, rng.choice(encoded)), np.uint8)
        height, width, step = (rng.choice((0, 1, 2, 7, 8, 24, 32, 96, 2**31)) for _ in range(3))
        encoding = rng.choice([*ENCODINGS, '16UC1', ''])
        raw = RawImage(Header(), height, width, encoding, rng.randrange(2), step, data)
        for convert, message in (
            (check_image, raw),
            (decode_compressed, RawCompressedImage(Header(), 'jpeg', data)),
        ):
            try:
                image = convert(message)
                assert image.dtype == np.uint8
                assert image.ndim == 3
                read += 1
            except InputFault:
                refused += 1
    record_property('refused', f'{refused:,}')
    record_property('read', f'{read:,}')
    assert refused > 100 * seconds
