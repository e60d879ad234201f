"""DDS types and quality of service of ROS messages, built from their definitions."""

from __future__ import annotations

from functools import cache
from typing import Any

from cyclonedds.core import Policy, Qos
from cyclonedds.idl import make_idl_struct, types
from cyclonedds.idl.annotations import final
from cyclonedds.util import duration

from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.definitions import Field, fields
from ros2_ood_monitor.messages.type_hashes import type_hash

# Made for annotations; mypy does not see that they are built by subscription.
_Array: Any = types.array
_Sequence: Any = types.sequence
_BoundedString: Any = types.bounded_str
_PRIMITIVES: dict[str, Any] = {
    'bool': bool, 'byte': types.byte, 'char': types.uint8, 'string': str,
    'int8': types.int8, 'int16': types.int16, 'int32': types.int32, 'int64': types.int64,
    'uint8': types.uint8, 'uint16': types.uint16, 'uint32': types.uint32, 'uint64': types.uint64,
    'float32': types.float32, 'float64': types.float64,
}  # fmt: skip
# A subscriber that does not acknowledge must not hold up the monitor: after this long the
# message is dropped for everyone instead.
_MAX_BLOCKING_MS = 50


@cache
def dds_type(type_name: str) -> Any:
    """Return the cyclonedds struct that ROS 2 nodes know as `pkg::msg::dds_::Type_`.

    Cyclone DDS checks outgoing bytes against it; samples are never decoded with it.
    """
    package, _, message = type_name.partition('/msg/')
    struct = make_idl_struct(
        f'{message}_',
        f'{package}.msg.dds_.{message}_',
        {item.name: _member(item) for item in fields(type_name)},
    )
    final(struct)
    return struct


def _member(item: Field) -> Any:
    element = dds_type(item.type_name) if item.nested else _PRIMITIVES[item.type_name]
    if item.bound:
        element = _BoundedString[item.bound]
    if item.count is None:
        return element
    return _Array[element, item.count] if item.count else _Sequence[element]


def dds_qos(topic: topics.Topic, publisher: bool) -> Qos:
    """Return the quality of service of a topic's writer or reader.

    A deadline and a lease are offered by publishers and never requested: a subscriber that
    requests them hears nothing from a publisher that does not offer them.
    """
    qos = topic.qos
    policies: list[Any] = [
        Policy.History.KeepLast(qos.depth),
        Policy.Reliability.Reliable(duration(milliseconds=_MAX_BLOCKING_MS))
        if qos.reliable
        else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal if qos.latched else Policy.Durability.Volatile,
        Policy.DataRepresentation(use_cdrv0_representation=True),
        # Iron and newer take the type's version from here.
        Policy.Userdata(f'typehash={type_hash(topic.type_name)};'.encode()),
    ]
    if qos.latched and publisher:
        policies.append(
            Policy.DurabilityService(0, Policy.History.KeepLast(qos.depth), -1, -1, -1)
        )
    if publisher and qos.deadline_ms is not None:
        policies.append(Policy.Deadline(duration(milliseconds=qos.deadline_ms)))
    if publisher and qos.lease_ms is not None:
        policies.append(Policy.Liveliness.Automatic(duration(milliseconds=qos.lease_ms)))
    return Qos(*policies)
