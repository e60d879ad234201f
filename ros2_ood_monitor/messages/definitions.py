"""Field lists of the ROS messages that this package uses, as in their `.msg` files.

The CDR codec, the RIHS01 type hash, the DDS type and the schema in a bag are all derived from
these, so they cannot disagree. vision_msgs as of 4.x (Humble to Lyrical), the rest unchanged
since Humble; `rmw_dds_common/Gid` has 16 bytes since Iron.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_TEXT = """
builtin_interfaces/msg/Time
  int32 sec
  uint32 nanosec

std_msgs/msg/Header
  builtin_interfaces/Time stamp
  string frame_id

sensor_msgs/msg/Image
  std_msgs/Header header
  uint32 height
  uint32 width
  string encoding
  uint8 is_bigendian
  uint32 step
  uint8[] data

sensor_msgs/msg/CompressedImage
  std_msgs/Header header
  string format
  uint8[] data

std_msgs/msg/Float32
  float32 data

std_msgs/msg/Bool
  bool data

diagnostic_msgs/msg/KeyValue
  string key
  string value

diagnostic_msgs/msg/DiagnosticStatus
  byte level
  string name
  string message
  string hardware_id
  diagnostic_msgs/KeyValue[] values

diagnostic_msgs/msg/DiagnosticArray
  std_msgs/Header header
  diagnostic_msgs/DiagnosticStatus[] status

vision_msgs/msg/VisionClass
  uint16 class_id
  string class_name

vision_msgs/msg/LabelInfo
  std_msgs/Header header
  vision_msgs/VisionClass[] class_map
  float32 threshold

vision_msgs/msg/Point2D
  float64 x
  float64 y

vision_msgs/msg/Pose2D
  vision_msgs/Point2D position
  float64 theta

vision_msgs/msg/BoundingBox2D
  vision_msgs/Pose2D center
  float64 size_x
  float64 size_y

geometry_msgs/msg/Point
  float64 x
  float64 y
  float64 z

geometry_msgs/msg/Quaternion
  float64 x
  float64 y
  float64 z
  float64 w

geometry_msgs/msg/Pose
  geometry_msgs/Point position
  geometry_msgs/Quaternion orientation

geometry_msgs/msg/PoseWithCovariance
  geometry_msgs/Pose pose
  float64[36] covariance

vision_msgs/msg/ObjectHypothesis
  string class_id
  float64 score

vision_msgs/msg/ObjectHypothesisWithPose
  vision_msgs/ObjectHypothesis hypothesis
  geometry_msgs/PoseWithCovariance pose

vision_msgs/msg/Detection2D
  std_msgs/Header header
  vision_msgs/ObjectHypothesisWithPose[] results
  vision_msgs/BoundingBox2D bbox
  string id

vision_msgs/msg/Detection2DArray
  std_msgs/Header header
  vision_msgs/Detection2D[] detections

rmw_dds_common/msg/Gid
  char[16] data

rmw_dds_common/msg/NodeEntitiesInfo
  string<=256 node_namespace
  string<=256 node_name
  rmw_dds_common/Gid[] reader_gid_seq
  rmw_dds_common/Gid[] writer_gid_seq

rmw_dds_common/msg/ParticipantEntitiesInfo
  rmw_dds_common/Gid gid
  rmw_dds_common/NodeEntitiesInfo[] node_entities_info_seq
"""


def _read(block: str) -> tuple[str, str]:
    name, *lines = (line.strip() for line in block.strip().splitlines())
    return name, '\n'.join(lines)


DEFINITIONS: dict[str, str] = dict(_read(block) for block in _TEXT.split('\n\n'))
"""Message type name to its field list, one field a line."""

PRIMITIVES = frozenset(
    ('bool', 'byte', 'char', 'float32', 'float64', 'string', 'int8', 'int16', 'int32', 'int64')
) | {'uint8', 'uint16', 'uint32', 'uint64'}


@dataclass(frozen=True)
class Field:
    """One field of a definition."""

    name: str
    type_name: str
    """A primitive, or the full name of another message."""
    count: int | None
    """None for a single value, 0 for a sequence of any length, n for an array of exactly n."""
    bound: int
    """Most bytes of a string; 0 for no bound."""

    @property
    def nested(self) -> bool:
        """True when the field holds messages rather than primitives."""
        return self.type_name not in PRIMITIVES


@cache
def fields(type_name: str) -> tuple[Field, ...]:
    """Parse the definition of `type_name`; KeyError when it is unknown."""
    return tuple(_parse(line) for line in DEFINITIONS[type_name].splitlines())


def _parse(line: str) -> Field:
    declared, name = line.split()
    base, bracket, size = declared.partition('[')
    count = int(size.rstrip(']') or 0) if bracket else None
    base, _, bound = base.partition('<=')
    if base not in PRIMITIVES:
        package, _, message = base.partition('/')
        base = f'{package}/msg/{message}'
    return Field(name, base, count, int(bound or 0))


def referenced(type_name: str) -> list[str]:
    """Return the names of all messages nested in `type_name`, at any depth, sorted."""
    found: set[str] = set()
    pending = [type_name]
    while pending:
        for item in fields(pending.pop()):
            if item.nested and item.type_name not in found:
                found.add(item.type_name)
                pending.append(item.type_name)
    return sorted(found)
