"""RIHS01 type hashes, by which Iron and newer distinguish versions of a message.

REP-2016: SHA-256 of the JSON form of the type description, without default values.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from ros2_ood_monitor.messages.definitions import Field, fields, referenced

# type_description_interfaces/msg/FieldType
_TYPE_IDS = {
    'nested': 1,
    'int8': 2,
    'uint8': 3,
    'int16': 4,
    'uint16': 5,
    'int32': 6,
    'uint32': 7,
    'int64': 8,
    'uint64': 9,
    'float32': 10,
    'float64': 11,
    'char': 3,  # a `char` of a .msg file is an uint8
    'bool': 15,
    'byte': 16,
    'string': 17,
}
_BOUNDED_STRING = 21
_ARRAY = 48
_SEQUENCE = 144


@cache
def type_hash(type_name: str) -> str:
    """Return `RIHS01_` and 64 hex digits for a registered message type."""
    description = {
        'type_description': _describe(type_name),
        'referenced_type_descriptions': [_describe(name) for name in referenced(type_name)],
    }
    text = json.dumps(description, ensure_ascii=True, separators=(', ', ': '))
    return 'RIHS01_' + hashlib.sha256(text.encode()).hexdigest()


def _describe(type_name: str) -> dict[str, Any]:
    return {
        'type_name': type_name,
        'fields': [{'name': item.name, 'type': _field_type(item)} for item in fields(type_name)],
    }


def _field_type(item: Field) -> dict[str, Any]:
    plain = _TYPE_IDS['nested' if item.nested else item.type_name]
    type_id = _BOUNDED_STRING if item.bound else plain
    if item.count is not None:
        type_id += _ARRAY if item.count else _SEQUENCE
    return {
        'type_id': type_id,
        'capacity': item.count or 0,
        'string_capacity': item.bound,
        'nested_type_name': item.type_name if item.nested else '',
    }
