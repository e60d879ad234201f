"""Coded images: their header is read first, and no pixel is invented."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_ood_monitor.frame import Header, RawCompressedImage, Stamp
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.decoding import (
    FILES,
    WIRE,
    ImageLimits,
    InputFault,
    decode_compressed,
    decode_image,
)
from ros2_ood_monitor.supervision.image_header import image_header, jpeg_end
from ros2_ood_monitor.supervision.input_check import InputCheck

FIELD = Path(__file__).parents[3] / 'shared' / 'field'
pytest.importorskip('simplejpeg')


def scene(rows: int = 48, columns: int = 64) -> np.ndarray:
    """Return a smooth colour image, RGB."""
    small = np.random.default_rng(2).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC)


def coded(suffix: str, *options: int) -> np.ndarray:
    _, data = cv2.imencode(suffix, cv2.cvtColor(scene(), cv2.COLOR_RGB2BGR), list(options))
    return np.asarray(data, np.uint8).reshape(-1)


JPEGS = {
    'baseline': coded('.jpg'),
    'progressive': coded('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    'restarts': coded('.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}


@pytest.mark.parametrize('kind', sorted(FILES))
def test_every_format_tells_its_size_and_is_decoded(kind: str) -> None:
    suffix = {'jpeg': '.jpg', 'pnm': '.ppm'}.get(kind, f'.{kind}')
    data = coded(suffix)
    header = image_header(data.tobytes())
    assert header is not None
    assert (header.kind, header.width, header.height) == (kind, 64, 48)
    image = decode_image(data)
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - scene()).mean() < 12
    with pytest.raises(InputFault, match='claims 64x48'):
        decode_image(data, limits=ImageLimits(megapixels=0.003))
    with pytest.raises(InputFault, match='MB'):
        decode_image(data, limits=ImageLimits(megabytes=data.size / 1e6 - 1e-6))


def test_a_lossless_webp_tells_its_size() -> None:
    header = image_header(coded('.webp', cv2.IMWRITE_WEBP_QUALITY, 101).tobytes())
    assert header is not None
    assert (header.width, header.height) == (64, 48)


@pytest.mark.parametrize('suffix', ['.webp', '.bmp', '.ppm', '.tiff'])
def test_a_camera_sends_jpeg_or_png(suffix: str) -> None:
    image = RawCompressedImage(Header(Stamp(1, 0), 'camera'), 'rgb8; jpeg', coded(suffix))
    with pytest.raises(InputFault, match='only jpeg, png are') as refused:
        decode_compressed(image)
    assert refused.value.code == 'not_decodable'
    decode_image(coded(suffix))


@pytest.mark.parametrize('name', JPEGS)
def test_a_whole_jpeg_in_a_larger_buffer_is_accepted(name: str) -> None:
    data = JPEGS[name]
    assert jpeg_end(data.tobytes()) == data.size
    rng = np.random.default_rng(1)
    for padding in (np.zeros(20_000, np.uint8), rng.integers(0, 255, 9000, np.uint8)):
        padded = np.concatenate([data, padding])
        np.testing.assert_array_equal(decode_image(padded), decode_image(data))


@pytest.mark.parametrize('name', JPEGS)
@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
@pytest.mark.parametrize('closed', [False, True])
def test_a_jpeg_whose_rest_would_be_invented_is_refused(
    name: str, share: float, closed: bool
) -> None:
    data = JPEGS[name][: round(share * JPEGS[name].size)]
    if closed:
        data = np.concatenate([data, np.array([0xFF, 0xD9], np.uint8)])
    with pytest.raises(InputFault) as refused:
        decode_image(data, WIRE)
    assert refused.value.code == 'not_decodable'


def test_a_lost_restart_interval_is_refused() -> None:
    data = JPEGS['restarts'].tobytes()
    first = data.index(b'\xff\xd0')
    third = data.index(b'\xff\xd2')
    with pytest.raises(InputFault, match='damaged'):
        decode_image(np.frombuffer(data[:first] + data[third:], np.uint8), WIRE)


def test_a_thumbnail_does_not_end_an_image() -> None:
    data = JPEGS['baseline'].tobytes()
    inside = b'Exif\0\0' + data
    segment = b'\xff\xe1' + struct.pack('>H', len(inside) + 2) + inside
    whole = data[:2] + segment + data[2:]
    assert jpeg_end(whole) == len(whole)
    assert jpeg_end(whole[:-2]) is None
    assert jpeg_end(whole[: len(segment) + 2]) is None


def huge_png() -> np.ndarray:
    """Return a small PNG that claims 100,000 x 100,000 pixels."""
    body = b'IHDR' + struct.pack('>IIBBBBB', 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + body + struct.pack('>I', zlib.crc32(body))
    return np.frombuffer(b'\x89PNG\r\n\x1a\n' + chunk, np.uint8)


def huge_jpeg() -> np.ndarray:
    data = bytearray(JPEGS['baseline'].tobytes())
    place = data.index(b'\xff\xc0')
    data[place + 5 : place + 9] = struct.pack('>HH', 20_000, 20_000)
    return np.frombuffer(bytes(data), np.uint8)


@pytest.mark.parametrize('data', [huge_png(), huge_jpeg()], ids=['png', 'jpeg'])
def test_what_an_image_claims_costs_nothing(data: np.ndarray) -> None:
    image = RawCompressedImage(Header(Stamp(1, 0), 'camera'), 'rgb8; jpeg', data)
    check = InputCheck(SupervisionConfig(check_stamp_age=False))
    began = time.perf_counter()
    with pytest.raises(InputFault) as refused:
        check.check(image, 1, 10**9)
    assert refused.value.code == 'too_large'
    assert time.perf_counter() - began < 0.1


def test_the_limits_are_parameters() -> None:
    data = coded('.png')
    image = RawCompressedImage(Header(Stamp(1, 0), 'camera'), 'rgb8; png', data)
    config = SupervisionConfig(check_stamp_age=False, max_image_mb=0.1, max_megapixels=0.01)
    InputCheck(config).check(image, 1, 10**9)
    large = cv2.imencode('.png', np.zeros((200, 200, 3), np.uint8))[1]
    image = RawCompressedImage(image.header, 'rgb8; png', np.asarray(large, np.uint8).reshape(-1))
    with pytest.raises(InputFault, match='claims 200x200'):
        InputCheck(config).check(image, 1, 10**9)


def test_a_mosaic_that_was_compressed_is_refused() -> None:
    image = RawCompressedImage(
        Header(Stamp(1, 0), 'camera'), 'bayer_rggb8; jpeg compressed bgr8', JPEGS['baseline']
    )
    with pytest.raises(InputFault, match='mosaic') as refused:
        decode_compressed(image)
    assert refused.value.code == 'encoding'


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(JPEGS)),
    cuts=st.lists(st.integers(0, 3000), max_size=3),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
)
def test_damage_raises_nothing_but_a_fault(
    name: str, cuts: list[int], flips: list[tuple[int, int]]
) -> None:
    data = bytearray(JPEGS[name].tobytes())
    for place, value in flips:
        data[place % len(data)] = value
    for cut in cuts:
        del data[cut % (len(data) + 1) :][:40]
    try:
        image = decode_image(np.frombuffer(bytes(data), np.uint8), WIRE, ImageLimits(1.0, 1.0))
    except InputFault:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3


@given(
    st.binary(max_size=200), st.sampled_from([b'', b'\xff\xd8', b'RIFF', b'II*\0', b'P6', b'BM'])
)
def test_a_header_of_anything_is_read_or_not(rest: bytes, magic: bytes) -> None:
    header = image_header(magic + rest)
    assert header is None or header.width > 0
    end = jpeg_end(magic + rest)
    assert end is None or 0 < end <= len(magic + rest)


@pytest.mark.skipif(not FIELD.is_dir(), reason='needs ../shared/field')
@pytest.mark.parametrize(
    ('file', 'code'),
    [
        ('claims_20000.jpg', 'too_large'),
        ('scan_cut_but_closed.jpg', 'not_decodable'),
        ('twelve_bits.png', 'encoding'),
        ('padded.jpg', None),
    ],
)
def test_files_of_the_field(file: str, code: str | None) -> None:
    assert file in json.loads((FIELD / 'expected.json').read_text())
    data = np.fromfile(FIELD / file, np.uint8)
    if code is None:
        assert decode_image(data, WIRE).shape == (72, 96, 3)
        return
    with pytest.raises(InputFault) as refused:
        decode_image(data, WIRE)
    assert refused.value.code == code
