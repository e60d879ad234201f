"""From bytes as received to an RGB image; inconsistent ones are refused."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ros2_ood_monitor.frame import RawCompressedImage, RawImage, UInt8Array


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


def decode_compressed(raw: RawCompressedImage) -> UInt8Array:
    """Decode a JPEG or PNG image to uint8 RGB (H, W, 3); raises InputFault if it is damaged."""
    if 'compressedDepth' in raw.format:
        raise InputFault(
            'encoding', f'format {raw.format!r:.60} is a depth image; a colour image is needed'
        )
    head = raw.data[:25].tobytes()
    if head.startswith(b'\x89PNG') and len(head) == 25 and head[24] > 8:
        raise InputFault(
            'encoding', 'the PNG image has more than 8 bits per sample; let the camera send 8'
        )
    # OpenCV fills the missing part of a truncated JPEG with grey, without an error. Encoders may
    # pad the end.
    if head.startswith(b'\xff\xd8') and b'\xff\xd9' not in raw.data[-4096:].tobytes():
        raise InputFault('not_decodable', f'the JPEG image is cut off after {raw.data.size} bytes')
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(raw.data, flags) if raw.data.size else None
    except (cv2.error, MemoryError):
        image = None
    if image is None:
        raise InputFault(
            'not_decodable',
            f'{raw.data.size} bytes of format {raw.format!r:.60} cannot be decoded as an image',
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
