from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp
from ros2_ood_monitor.scenes import SceneGenerator
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.input_check import (
    InputCheck,
    InputFault,
    check_image,
    decode_compressed,
)

SHARED = Path(os.environ.get('OOD_SHARED', Path(__file__).parents[3] / 'shared'))
CAMVID = SHARED / 'camvid' / 'val'
HEIGHT, WIDTH = 48, 64
PERIOD_NS = 33_000_000


def scene(seed: int = 0) -> np.ndarray:
    """Return a smooth colourful uint8 RGB image, so that chroma subsampling costs little."""
    coarse = np.random.default_rng(seed).integers(30, 220, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def raw(data: np.ndarray, encoding: str, channels: int, padding: int = 0, **changes) -> RawImage:
    rows = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    assert rows.shape[1] == data.shape[1] * channels
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    image = RawImage(
        Header(Stamp(1, 0), 'camera'),
        data.shape[0],
        data.shape[1],
        encoding,
        0,
        padded.shape[1],
        padded.ravel(),
    )
    return dataclasses.replace(image, **changes)


def bayer(image: np.ndarray, pattern: str) -> np.ndarray:
    """Sample RGB as a sensor would whose first 2x2 pixels have the colours `pattern`."""
    mosaic = np.empty(image.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        y, x = divmod(index, 2)
        mosaic[y::2, x::2] = image[y::2, x::2, 'rgb'.index(colour)]
    return mosaic


def yuv422(image: np.ndarray, luma_first: bool) -> np.ndarray:
    """BT.601 limited range, written out from the definition."""
    red, green, blue = (image[..., i].astype(float) for i in range(3))
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    packed = np.empty((*image.shape[:2], 2))
    packed[..., 0 if luma_first else 1] = luma
    chroma = packed[..., 1 if luma_first else 0]
    chroma[:, 0::2] = (u[:, 0::2] + u[:, 1::2]) / 2
    chroma[:, 1::2] = (v[:, 0::2] + v[:, 1::2]) / 2
    return np.clip(np.rint(packed), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('big_endian', [0, 1])
def test_every_8_bit_encoding_becomes_the_same_rgb_image(padding, big_endian):
    image = scene()
    alpha = np.full((HEIGHT, WIDTH, 1), 9, np.uint8)
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    cases = [
        ('rgb8', image, 3, image, 0),
        ('bgr8', image[..., ::-1], 3, image, 0),
        ('8UC3', image[..., ::-1], 3, image, 0),
        ('rgba8', np.concatenate([image, alpha], 2), 4, image, 0),
        ('bgra8', np.concatenate([image[..., ::-1], alpha], 2), 4, image, 0),
        ('mono8', grey[..., 0], 1, grey, 0),
        ('yuv422', yuv422(image, luma_first=False), 2, image, 8),
        ('uyvy', yuv422(image, luma_first=False), 2, image, 8),
        ('yuv422_yuy2', yuv422(image, luma_first=True), 2, image, 8),
        ('yuyv', yuv422(image, luma_first=True), 2, image, 8),
        *(
            (f'bayer_{pattern}8', bayer(image, pattern), 1, image, 4)
            for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
        ),
    ]
    for encoding, data, channels, expected, tolerance in cases:
        result = check_image(raw(data, encoding, channels, padding, is_bigendian=big_endian))
        assert result.dtype == np.uint8, encoding
        assert result.flags.c_contiguous, encoding
        difference = np.abs(result.astype(int) - expected.astype(int))
        assert difference.shape == (HEIGHT, WIDTH, 3), encoding
        # Chroma and Bayer samples are shared by neighbours; swapped colours differ by far more.
        assert np.percentile(difference, 90) <= tolerance, encoding


def test_unpadded_rgb_is_not_copied():
    message = raw(scene(), 'rgb8', 3)
    assert np.shares_memory(check_image(message), message.data)


GOOD = raw(scene(), 'rgb8', 3)


@pytest.mark.parametrize(
    ('changes', 'code', 'words'),
    [
        ({'encoding': 'mono16'}, 'encoding', 'more than 8 bits'),
        ({'encoding': '32FC1'}, 'encoding', 'more than 8 bits'),
        ({'encoding': 'jpg'}, 'encoding', "'jpg' is not supported"),
        ({'encoding': ''}, 'encoding', 'not supported'),
        ({'width': 0}, 'zero_size', '0x48'),
        ({'height': 0}, 'zero_size', '64x0'),
        ({'step': WIDTH * 3 - 1}, 'step', 'need 192'),
        ({'step': 0}, 'step', 'step is 0'),
        ({'data': GOOD.data[:-1]}, 'data_length', '9215 bytes'),
        ({'data': GOOD.data[:0]}, 'data_length', '0 bytes'),
        ({'height': HEIGHT - 1}, 'data_length', '47 rows'),
        ({'width': 4_000_000_000}, 'step', '12000000000'),
        ({'encoding': 'yuyv', 'width': 63}, 'odd_size', '63x48'),
        ({'encoding': 'bayer_rggb8', 'height': 47}, 'odd_size', '64x47'),
    ],
)
def test_an_image_that_does_not_add_up_is_refused_with_a_reason(changes, code, words):
    with pytest.raises(InputFault, match=words) as caught:
        check_image(dataclasses.replace(GOOD, **changes))
    assert caught.value.code == code


def compressed(data: bytes, form: str = 'rgb8; jpeg compressed bgr8') -> RawCompressedImage:
    return RawCompressedImage(Header(Stamp(1, 0)), form, np.frombuffer(data, np.uint8))


def encoded(extension: str, image: np.ndarray) -> bytes:
    return cv2.imencode(extension, image)[1].tobytes()


def test_jpeg_and_png_are_decoded_to_rgb():
    image = scene()
    png = decode_compressed(compressed(encoded('.png', image[..., ::-1]), 'png'))
    np.testing.assert_array_equal(png, image)
    jpeg = encoded('.jpg', image[..., ::-1]) + b'\0' * 100  # cameras may pad
    assert np.abs(decode_compressed(compressed(jpeg)).astype(int) - image).mean() < 6


@pytest.mark.parametrize(
    ('data', 'form', 'code'),
    [
        (b'', 'jpeg', 'not_decodable'),
        (b'no image at all', 'jpeg', 'not_decodable'),
        (encoded('.jpg', scene())[:-200], 'jpeg', 'not_decodable'),
        (encoded('.png', scene())[:60], 'png', 'not_decodable'),
        (encoded('.png', scene().astype(np.uint16) * 257), 'png', 'encoding'),
        (encoded('.png', scene()), '16UC1; compressedDepth', 'encoding'),
    ],
)
def test_damaged_or_deep_compressed_images_are_refused(data, form, code):
    with pytest.raises(InputFault) as caught:
        decode_compressed(compressed(data, form))
    assert caught.value.code == code


class Camera:
    """A well-behaved camera, unless told otherwise."""

    def __init__(self, **config):
        self.check = InputCheck(SupervisionConfig(**config))
        self.now_ns = 10**18
        self.frames = 0

    def send(self, image=None, stamp_ns=None, age_ms=5.0) -> str:
        self.now_ns += PERIOD_NS
        self.frames += 1
        image = scene(self.frames) if image is None else image
        stamp_ns = self.now_ns - round(age_ms * 1e6) if stamp_ns is None else stamp_ns
        message = raw(image, 'rgb8', 3, header=Header(Stamp.from_ns(stamp_ns), 'camera'))
        try:
            np.testing.assert_array_equal(
                self.check.check(message, self.now_ns - 10**17, self.now_ns), image
            )
        except InputFault as fault:
            return fault.code
        return ''


def test_a_healthy_camera_passes():
    camera = Camera()
    assert [camera.send() for _ in range(30)] == [''] * 30


def test_a_frozen_camera_is_noticed_in_time_and_forgiven_when_it_moves():
    camera = Camera(frozen_after_s=0.2)
    still = scene(99)
    codes = [camera.send(still.copy()) for _ in range(10)]
    assert codes == [''] * 7 + ['frozen'] * 3  # 7 periods of 33 ms are 0.23 s
    assert camera.send() == ''
    assert camera.send(still) == ''


def test_a_slow_camera_that_repeats_one_image_once_is_not_frozen():
    camera = Camera(frozen_after_s=0.05)
    still = scene(99)
    camera.now_ns += 10**9
    assert camera.send(still) == ''
    camera.now_ns += 10**9
    assert camera.send(still) == ''


def test_one_changed_pixel_is_life():
    camera = Camera(frozen_after_s=0.05)
    for index in range(10):
        image = scene(99)
        image[HEIGHT // 2 + 3, 5, 1] = index
        assert camera.send(image) == ''


@pytest.mark.parametrize(
    ('image', 'code'),
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), 'black'),
        (np.random.default_rng(0).integers(0, 6, (HEIGHT, WIDTH, 3)).astype(np.uint8), 'black'),
        (np.full((HEIGHT, WIDTH, 3), 255, np.uint8), 'overexposed'),
        (np.full((HEIGHT, WIDTH, 3), 128, np.uint8), 'no_contrast'),
    ],
)
def test_an_image_without_content_is_refused(image, code):
    camera = Camera()
    assert camera.send() == ''
    assert camera.send(image) == code
    assert camera.send() == ''


def test_a_night_scene_with_a_lamp_is_not_black():
    image = np.random.default_rng(0).integers(0, 6, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[10:20, 10:20] = 200
    assert Camera().send(image) == ''


def test_a_camera_that_changes_size_stays_refused_until_it_changes_back():
    camera = Camera()
    small = scene()[:24, :32]
    assert [camera.send(), camera.send(small), camera.send(small + 1), camera.send()] == [
        '',
        'size_changed',
        'size_changed',
        '',
    ]


def test_stamps_must_move_forward_be_set_and_be_near_the_clock():
    camera = Camera()
    assert camera.send() == ''
    assert camera.send(stamp_ns=0) == 'stamp_zero'
    assert camera.send(stamp_ns=1) == 'stamp_back'
    assert camera.send() == ''
    earlier = camera.now_ns - 40_000_000
    assert camera.send(stamp_ns=earlier) == 'stamp_back'
    assert camera.send() == ''
    assert camera.send(stamp_ns=camera.now_ns - 5_000_000) == 'stamp_back'  # the same again
    assert camera.send(age_ms=-150) == 'stamp_future'
    camera.now_ns += 10**9
    assert camera.send() == ''
    camera.now_ns += 10**9
    assert camera.send(age_ms=400) == 'stamp_old'
    assert camera.send() == ''


def test_a_recording_is_only_checked_for_order():
    camera = Camera(check_stamp_age=False)
    assert camera.send(stamp_ns=10**9) == ''
    assert camera.send(stamp_ns=2 * 10**9) == ''
    assert camera.send(stamp_ns=10**9) == 'stamp_back'


def code_of(image: np.ndarray, data: bytes | None = None, **config) -> str:
    """Return the fault of an image for a network of colour images; '' if there is none."""
    check = InputCheck(SupervisionConfig(check_stamp_age=False, **config))
    header = Header(Stamp(1, 0), 'camera')
    message = raw(image, 'rgb8', 3, header=header)
    if data is not None:
        message = compressed(data, 'jpeg')
    try:
        check.check(message, 0, 0, expects_color=True)
    except InputFault as fault:
        return fault.code
    return ''


def grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def test_a_colour_camera_that_turned_grey_is_a_fault():
    assert code_of(scene()) == ''
    assert code_of(grey(scene())) == 'grey'
    assert code_of(grey(scene()), check_color=False) == ''


@pytest.mark.parametrize('quality', [30, 95])
def test_a_grey_jpeg_is_found(quality: int):
    data = cv2.imencode('.jpg', grey(scene()), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert code_of(grey(scene()), data) == 'grey'


def test_one_coloured_pixel_does_not_hide_a_grey_image():
    image = grey(scene())
    image[0, 0] = (255, 0, 0)
    assert code_of(image) == 'grey'


def test_dark_colour_images_are_not_grey():
    for seed in range(20):
        frame = SceneGenerator(seed, 256, 192).scene(0).image
        noise = np.random.default_rng(seed).normal(0, 2, frame.shape)
        dark = np.clip(frame * 0.1 + 8 + noise, 0, 255).astype(np.uint8)
        assert code_of(dark) == ''


def test_an_image_too_dark_to_tell_is_not_called_grey():
    assert code_of((scene() * 0.06 + 5).astype(np.uint8)) == ''


@pytest.mark.skipif(not CAMVID.is_dir(), reason='needs ../shared/camvid')
def test_no_real_driving_is_grey():
    for path in sorted(CAMVID.glob('*.webp'))[::10]:
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        assert code_of(image) == ''
        assert code_of(grey(image)) == 'grey'
