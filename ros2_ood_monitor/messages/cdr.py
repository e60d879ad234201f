"""Plain CDR (XCDR1), the encoding of every ROS 2 message on DDS and in bags.

Byte-exact with rmw_cyclonedds_cpp: a 4-byte encapsulation header, then the fields in order, each
primitive aligned to its size counted from the end of that header. Image data is never copied
on reading and once on writing.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.messages.definitions import Field, fields
from ros2_ood_monitor.messages.types import CLASSES, TYPE_NAMES

_HEADER = b'\x00\x01\x00\x00'
_ENDIANNESS = {b'\x00\x00': '>', b'\x00\x01': '<'}
_FORMATS = {
    'bool': '?', 'byte': 'B', 'char': 'B', 'uint8': 'B', 'int8': 'b', 'uint16': 'H', 'int16': 'h',
    'uint32': 'I', 'int32': 'i', 'uint64': 'Q', 'int64': 'q', 'float32': 'f', 'float64': 'd',
}  # fmt: skip
_OCTETS = frozenset(('byte', 'char', 'uint8'))
_MOST_PADDING = 3  # DDS pads a sample to a multiple of 4 bytes


class CdrError(ValueError):
    """Bytes that do not encode the expected message, or a message that does not fit its type."""


def serialize(message: object) -> bytes:
    """Encode a message of `messages.types`, encapsulation header included.

    Raises CdrError when a value does not fit its field.
    """
    type_name = TYPE_NAMES.get(type(message))
    if type_name is None:
        raise CdrError(f'{type(message).__name__} is not a message type; see messages/types.py')
    writer = _Writer()
    writer.message(type_name, message)
    return b''.join((_HEADER, *writer.chunks))


def deserialize(type_name: str, data: bytes | memoryview) -> Any:
    """Decode `data`, encapsulation header included, into the dataclass of `type_name`.

    Arrays of octets are read-only views into `data`. Raises CdrError when `data` is not a plain
    CDR encoding of the type: too short, too long, unknown encapsulation, broken string.
    """
    if type_name not in CLASSES:
        raise CdrError(
            f'{type_name} is not a message type this package knows; see messages/types.py'
        )
    endianness = _ENDIANNESS.get(bytes(data[:2]))
    if endianness is None or len(data) < len(_HEADER):
        raise CdrError(
            f'{type_name}: encapsulation {bytes(data[:4]).hex()!r} is not plain CDR; '
            'let the sender use XCDR1'
        )
    reader = _Reader(memoryview(data)[len(_HEADER) :], endianness)
    try:
        message = reader.message(type_name)
    except (struct.error, UnicodeDecodeError, _BrokenError) as error:
        raise CdrError(
            f'{type_name}: {len(data)} bytes are not a complete message ({error}); '
            'check that both sides use the same message definition'
        ) from error
    surplus = len(reader.data) - reader.offset
    if surplus > _MOST_PADDING:
        raise CdrError(
            f'{type_name}: {surplus} bytes are left over; '
            'check that both sides use the same message definition'
        )
    return message


class _BrokenError(ValueError):
    """Found while decoding; becomes a CdrError that names the message."""


class _Writer:
    def __init__(self) -> None:
        self.chunks: list[bytes | memoryview] = []
        self.offset = 0

    def message(self, type_name: str, value: object) -> None:
        for item in fields(type_name):
            self._field(type_name, item, value)

    def _field(self, type_name: str, item: Field, message: object) -> None:
        try:
            value = getattr(message, item.name)
            if item.count is None:
                self._element(item, value)
            else:
                self._elements(item, value)
        except CdrError:
            raise
        except (struct.error, AttributeError, OverflowError, TypeError, ValueError) as error:
            raise CdrError(f'{type_name}.{item.name}: {error}') from error

    def _elements(self, item: Field, value: Any) -> None:
        if item.count and len(value) != item.count:
            raise ValueError(f'{len(value)} elements where the type has {item.count}')
        if not item.count:
            self._pack('I', 4, len(value))
        if item.type_name in _OCTETS:
            self._octets(value)
        else:
            for element in value:
                self._element(item, element)

    def _element(self, item: Field, value: Any) -> None:
        if item.nested:
            self.message(item.type_name, value)
        elif item.type_name == 'string':
            self._string(value, item.bound)
        else:
            code = _FORMATS[item.type_name]
            self._pack(code, struct.calcsize(code), value)

    def _pack(self, code: str, size: int, value: Any) -> None:
        padding = -self.offset % size
        self._append(b'\0' * padding + struct.pack('<' + code, value))

    def _string(self, value: str, bound: int) -> None:
        encoded = value.encode()
        if bound and len(encoded) > bound:
            raise ValueError(f'{len(encoded)} bytes of text where the type allows {bound}')
        if b'\0' in encoded:
            raise ValueError('text with a NUL character')
        self._pack('I', 4, len(encoded) + 1)
        self._append(encoded + b'\0')

    def _octets(self, value: Any) -> None:
        array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
        if array.dtype != np.uint8:
            raise TypeError(f'{array.dtype} array where uint8 belongs')
        self._append(np.ascontiguousarray(array).reshape(-1).data)

    def _append(self, chunk: bytes | memoryview) -> None:
        self.chunks.append(chunk)
        self.offset += len(chunk)


class _Reader:
    def __init__(self, data: memoryview, endianness: str) -> None:
        self.data = data
        self.endianness = endianness
        self.offset = 0

    def message(self, type_name: str) -> Any:
        return CLASSES[type_name](*[self._field(item) for item in fields(type_name)])

    def _field(self, item: Field) -> Any:
        if item.count is None:
            return self._element(item)
        count = item.count or int(self._unpack('I', 4))
        if item.type_name in _OCTETS:
            return self._octets(count)
        if count > len(self.data) - self.offset:  # every element has at least one byte
            raise _BrokenError(f'{item.name} announces {count} elements')
        return tuple([self._element(item) for _ in range(count)])

    def _element(self, item: Field) -> Any:
        if item.nested:
            return self.message(item.type_name)
        if item.type_name == 'string':
            return self._string()
        code = _FORMATS[item.type_name]
        return self._unpack(code, struct.calcsize(code))

    def _unpack(self, code: str, size: int) -> Any:
        self.offset += -self.offset % size
        value = struct.unpack_from(self.endianness + code, self.data, self.offset)[0]
        self.offset += size
        return value

    def _string(self) -> str:
        length = int(self._unpack('I', 4))
        if length == 0:  # some vendors leave out the NUL of an empty string
            return ''
        raw = bytes(self._take(length))
        if raw[-1]:
            raise _BrokenError('a string without its NUL')
        return raw[:-1].decode()

    def _octets(self, count: int) -> UInt8Array:
        return np.frombuffer(self._take(count), np.uint8)

    def _take(self, count: int) -> memoryview:
        taken = self.data[self.offset : self.offset + count]
        if len(taken) != count:
            raise _BrokenError(f'{count} bytes announced, {len(taken)} there')
        self.offset += count
        return taken
