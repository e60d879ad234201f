"""What an image file says of itself, read before any of its pixels is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_PNM = re.compile(rb'P([3-6])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)')
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_TYPES = {3: 'H', 4: 'I'}


@dataclass(frozen=True)
class ImageHeader:
    """Format and size of a coded image."""

    kind: str
    """jpeg, png, webp, bmp, pnm or tiff."""
    width: int
    height: int
    bits: int = 8
    """Of a sample, where the format says it."""


def image_header(data: bytes) -> ImageHeader | None:
    """Return what the header says; None if it is none of the formats, or broken.

    Nothing is allocated that depends on what it says.
    """
    for magic, read in _READERS:
        if data.startswith(magic):
            try:
                found = read(data)
            except (struct.error, IndexError):
                return None
            return found if found and found.width > 0 and found.height > 0 else None
    return None


def _jpeg(data: bytes) -> ImageHeader | None:
    place = 2
    while True:
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            place += 1
            continue
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        (length,) = struct.unpack_from('>H', data, place + 2)
        if marker in _START_OF_FRAME:
            bits, height, width = struct.unpack_from('>BHH', data, place + 4)
            return ImageHeader('jpeg', width, height, bits)
        if marker in (0xD9, 0xDA) or length < 2:
            return None
        place += 2 + length


def _png(data: bytes) -> ImageHeader | None:
    if data[12:16] != b'IHDR':
        return None
    return ImageHeader('png', *struct.unpack_from('>IIB', data, 16))


def _webp(data: bytes) -> ImageHeader | None:
    if data[8:12] != b'WEBP':
        return None
    kind = data[12:16]
    if kind == b'VP8X':
        width, height = (int.from_bytes(data[at : at + 3], 'little') + 1 for at in (24, 27))
    elif kind == b'VP8L':
        (bits,) = struct.unpack_from('<I', data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b'VP8 ':
        width, height = (side & 0x3FFF for side in struct.unpack_from('<HH', data, 26))
    else:
        return None
    return ImageHeader('webp', width, height)


def _bmp(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from('<ii', data, 18)
    return ImageHeader('bmp', width, abs(height))


def _pnm(data: bytes) -> ImageHeader | None:
    found = _PNM.match(data[:1000])
    if found is None or len(found[2]) > 9 or len(found[3]) > 9:
        return None
    return ImageHeader('pnm', int(found[2]), int(found[3]))


def _tiff(data: bytes) -> ImageHeader:
    order = '<' if data.startswith(b'II') else '>'
    (at,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, at)
    sides: dict[int, int] = {}
    for number in range(count):
        tag, kind = struct.unpack_from(f'{order}HH', data, at + 2 + 12 * number)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in _TIFF_TYPES:
            value = struct.unpack_from(f'{order}{_TIFF_TYPES[kind]}', data, at + 10 + 12 * number)
            sides[tag] = value[0]
    return ImageHeader('tiff', sides.get(_TIFF_WIDTH, 0), sides.get(_TIFF_HEIGHT, 0))


_READERS: tuple[tuple[bytes, Callable[[bytes], ImageHeader | None]], ...] = (
    (b'\xff\xd8', _jpeg),
    (b'\x89PNG\r\n\x1a\n', _png),
    (b'RIFF', _webp),
    (b'BM', _bmp),
    (b'P3', _pnm),
    (b'P5', _pnm),
    (b'P6', _pnm),
    (b'II*\0', _tiff),
    (b'MM\0*', _tiff),
)


def jpeg_end(data: bytes) -> int | None:
    """Return where a JPEG ends, which a larger buffer may hold; None if it is cut off.

    Its end is the marker after its last scan: one in a thumbnail or in what follows the image
    means nothing.
    """
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker == 0xD9:
            return place + 2
        elif marker in _WITHOUT_LENGTH:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
            if marker == 0xDA:
                place = _after_scan(data, place)
    return place + 2 if data[place : place + 2] == b'\xff\xd9' else None


def _after_scan(data: bytes, place: int) -> int:
    """Return where the next marker is that ends the coded data from `place` on."""
    while (place := data.find(b'\xff', place)) >= 0 and place + 1 < len(data):
        following = data[place + 1]
        if following != 0 and not 0xD0 <= following <= 0xD7 and following != 0xFF:
            return place
        place += 1 if following == 0xFF else 2
    return len(data)
