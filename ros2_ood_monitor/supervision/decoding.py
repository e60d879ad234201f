"""From bytes as received to an RGB image; inconsistent ones are refused."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import cv2
import numpy as np

from ros2_ood_monitor.frame import RawCompressedImage, RawImage, UInt8Array
from ros2_ood_monitor.supervision.image_header import image_header, jpeg_end

try:
    import simplejpeg
except ImportError:  # without it a JPEG that is closed too early is decoded with grey for the rest
    simplejpeg = None


class InputFault(ValueError):  # noqa: N818 - a fault of the camera, not of this program
    """An image that must not be scored; `code` is machine-readable, the message a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _convert(code: int) -> Callable[[UInt8Array], UInt8Array]:
    def converted(image: UInt8Array) -> UInt8Array:
        return np.asarray(cv2.cvtColor(image, code), np.uint8)

    return converted


ENCODINGS: dict[str, tuple[int, Callable[[UInt8Array], UInt8Array]]] = {
    'rgb8': (3, np.ascontiguousarray),
    'bgr8': (3, _convert(cv2.COLOR_BGR2RGB)),
    '8UC3': (3, _convert(cv2.COLOR_BGR2RGB)),
    'rgba8': (4, _convert(cv2.COLOR_RGBA2RGB)),
    'bgra8': (4, _convert(cv2.COLOR_BGRA2RGB)),
    '8UC4': (4, _convert(cv2.COLOR_BGRA2RGB)),
    'mono8': (1, _convert(cv2.COLOR_GRAY2RGB)),
    '8UC1': (1, _convert(cv2.COLOR_GRAY2RGB)),
    'yuv422': (2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'uyvy': (2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'yuv422_yuy2': (2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    'yuyv': (2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    # OpenCV names a Bayer pattern by its second row and column, ROS by its first.
    'bayer_rggb8': (1, _convert(cv2.COLOR_BayerBG2RGB)),
    'bayer_bggr8': (1, _convert(cv2.COLOR_BayerRG2RGB)),
    'bayer_gbrg8': (1, _convert(cv2.COLOR_BayerGR2RGB)),
    'bayer_grbg8': (1, _convert(cv2.COLOR_BayerGB2RGB)),
}
"""ROS encoding to bytes per pixel and conversion to RGB; all have 8-bit samples, for which the
big-endian flag means nothing."""


def check_image(raw: RawImage) -> UInt8Array:
    """Return `raw` as uint8 RGB (H, W, 3), without a copy if it is unpadded rgb8.

    Raises InputFault if encoding, size, step and data length do not fit together.
    """
    if raw.encoding not in ENCODINGS:
        deep = '16' in raw.encoding or '32' in raw.encoding
        raise InputFault(
            'encoding',
            f'encoding {raw.encoding!r:.40} is not supported'
            f'{" because it has more than 8 bits" if deep else ""}; let the camera send one of '
            f'{", ".join(ENCODINGS)}',
        )
    pixel_bytes, convert = ENCODINGS[raw.encoding]
    if raw.width <= 0 or raw.height <= 0:
        raise InputFault('zero_size', f'the image has size {raw.width}x{raw.height}')
    if (pixel_bytes == 2 and raw.width % 2) or (
        raw.encoding.startswith('bayer') and (raw.width % 2 or raw.height % 2)
    ):
        raise InputFault(
            'odd_size',
            f'an image of {raw.encoding} cannot have the odd size {raw.width}x{raw.height}',
        )
    if raw.step < raw.width * pixel_bytes:
        raise InputFault(
            'step',
            f'step is {raw.step} bytes, but {raw.width} pixels of {raw.encoding} need '
            f'{raw.width * pixel_bytes}',
        )
    if raw.data.size != raw.step * raw.height:
        raise InputFault(
            'data_length',
            f'the image has {raw.data.size} bytes of data, but {raw.height} rows of {raw.step} '
            f'bytes make {raw.step * raw.height}',
        )
    rows = raw.data.reshape(raw.height, raw.step)[:, : raw.width * pixel_bytes]
    shape = (raw.height, raw.width) if pixel_bytes == 1 else (raw.height, raw.width, pixel_bytes)
    return convert(np.ascontiguousarray(rows).reshape(shape))


@dataclass(frozen=True)
class ImageLimits:
    """How large a coded image may be, and claim to be, before anything is decoded."""

    megapixels: float = 34.0
    """8K, 7680x4320, and a little more."""
    megabytes: float = 64.0
    """Of the coded image."""


WIRE = frozenset({'jpeg', 'png'})
"""Formats of compressed images of a camera."""
FILES = WIRE | {'webp', 'bmp', 'pnm', 'tiff'}
"""Formats of files with normal driving."""
_LIMITS = ImageLimits()


def decode_compressed(raw: RawCompressedImage, limits: ImageLimits = _LIMITS) -> UInt8Array:
    """Decode a JPEG or PNG image to uint8 RGB (H, W, 3); raises InputFault if it is damaged."""
    if 'compressedDepth' in raw.format:
        raise InputFault(
            'encoding', f'format {raw.format!r:.60} is a depth image; a colour image is needed'
        )
    if raw.format.startswith('bayer_'):
        raise InputFault(
            'encoding',
            f'format {raw.format!r:.60} is a mosaic, whose colours compression has mixed; let the '
            'camera compress rgb8 or bgr8',
        )
    return decode_image(raw.data, WIRE, limits)


def decode_image(
    data: UInt8Array,
    kinds: Set[str] = FILES,
    limits: ImageLimits = _LIMITS,
    turn_upright: bool = False,
) -> UInt8Array:
    """Decode a coded image of one of `kinds` to uint8 RGB (H, W, 3).

    The header is read first, so that no image is decoded that is larger than `limits` or claims to
    be. With `turn_upright` the orientation stored in the file (EXIF) is applied.

    Raises:
        InputFault: too large, another format, more than 8 bits, or a decoder would have to invent
            pixels of a damaged JPEG.
    """
    if data.size > limits.megabytes * 1e6:
        raise InputFault(
            'too_large',
            f'the image has {data.size / 1e6:.0f} MB, allowed are {limits.megabytes:g}',
        )
    coded = data.tobytes()
    header = image_header(coded)
    if header is None or header.kind not in kinds:
        what = 'no header that is known' if header is None else f'the header of {header.kind}'
        raise InputFault(
            'not_decodable',
            f'{data.size} bytes cannot be decoded, they have {what}; only '
            f'{", ".join(sorted(kinds))} are',
        )
    megapixels = header.width * header.height / 1e6
    if megapixels > limits.megapixels:
        raise InputFault(
            'too_large',
            f'the image claims {header.width}x{header.height} pixels, {megapixels:.0f} million; '
            f'allowed are {limits.megapixels:g}',
        )
    if header.bits > 8:
        raise InputFault(
            'encoding',
            f'the {header.kind.upper()} image has more than 8 bits per sample; save or send 8',
        )
    if header.kind == 'jpeg':
        end = jpeg_end(coded)
        if end is None:
            raise InputFault('not_decodable', f'the JPEG image is cut off after {data.size} bytes')
        strict = _strict_jpeg(coded[:end])
        if strict is not None and not (turn_upright and b'Exif\0' in coded[:4096]):
            return strict
    flags = cv2.IMREAD_COLOR | (0 if turn_upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(data, flags)
    except (cv2.error, MemoryError):
        image = None
    if image is None:
        raise InputFault(
            'not_decodable', f'{data.size} bytes of {header.kind} are damaged and not decodable'
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _strict_jpeg(coded: bytes) -> UInt8Array | None:
    """Decode with a library that tells of damage; None where it is absent or knows the kind not.

    OpenCV fills what is missing with grey, without a word.
    """
    if simplejpeg is None:
        return None
    try:
        return np.asarray(simplejpeg.decode_jpeg(coded, colorspace='RGB', strict=True), np.uint8)
    except ValueError as error:
        text = str(error)
        if 'olor' in text and 'conver' in text:  # CMYK
            return None
        raise InputFault('not_decodable', f'the JPEG image is damaged: {text:.100}') from error
