"""The ROS messages that this package uses, as dataclasses whose fields are in wire order.

Images, headers and stamps are the ones of `frame`: a camera's message needs no conversion.
"""

from __future__ import annotations

from dataclasses import dataclass

from ros2_ood_monitor.frame import Header, RawCompressedImage, RawImage, Stamp, UInt8Array


@dataclass(frozen=True)
class Float32:
    """std_msgs/Float32."""

    data: float = 0.0


@dataclass(frozen=True)
class Bool:
    """std_msgs/Bool."""

    data: bool = False


@dataclass(frozen=True)
class KeyValue:
    """diagnostic_msgs/KeyValue."""

    key: str = ''
    value: str = ''


@dataclass(frozen=True)
class DiagnosticStatus:
    """diagnostic_msgs/DiagnosticStatus; level 0 OK, 1 WARN, 2 ERROR, 3 STALE."""

    level: int = 0
    name: str = ''
    message: str = ''
    hardware_id: str = ''
    values: tuple[KeyValue, ...] = ()


@dataclass(frozen=True)
class DiagnosticArray:
    """diagnostic_msgs/DiagnosticArray."""

    header: Header
    status: tuple[DiagnosticStatus, ...] = ()


@dataclass(frozen=True)
class VisionClass:
    """vision_msgs/VisionClass."""

    class_id: int = 0
    class_name: str = ''


@dataclass(frozen=True)
class LabelInfo:
    """vision_msgs/LabelInfo."""

    header: Header
    class_map: tuple[VisionClass, ...] = ()
    threshold: float = 0.0


@dataclass(frozen=True)
class Point2D:
    """vision_msgs/Point2D, pixels."""

    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Pose2D:
    """vision_msgs/Pose2D."""

    position: Point2D = Point2D()
    theta: float = 0.0


@dataclass(frozen=True)
class BoundingBox2D:
    """vision_msgs/BoundingBox2D, pixels."""

    center: Pose2D = Pose2D()
    size_x: float = 0.0
    size_y: float = 0.0


@dataclass(frozen=True)
class Point:
    """geometry_msgs/Point."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass(frozen=True)
class Quaternion:
    """geometry_msgs/Quaternion; the default is no rotation."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    w: float = 1.0


@dataclass(frozen=True)
class Pose:
    """geometry_msgs/Pose."""

    position: Point = Point()
    orientation: Quaternion = Quaternion()


@dataclass(frozen=True)
class PoseWithCovariance:
    """geometry_msgs/PoseWithCovariance."""

    pose: Pose = Pose()
    covariance: tuple[float, ...] = (0.0,) * 36


@dataclass(frozen=True)
class ObjectHypothesis:
    """vision_msgs/ObjectHypothesis."""

    class_id: str = ''
    score: float = 0.0


@dataclass(frozen=True)
class ObjectHypothesisWithPose:
    """vision_msgs/ObjectHypothesisWithPose."""

    hypothesis: ObjectHypothesis = ObjectHypothesis()
    pose: PoseWithCovariance = PoseWithCovariance()


@dataclass(frozen=True)
class Detection2D:
    """vision_msgs/Detection2D."""

    header: Header
    results: tuple[ObjectHypothesisWithPose, ...] = ()
    bbox: BoundingBox2D = BoundingBox2D()
    id: str = ''


@dataclass(frozen=True)
class Detection2DArray:
    """vision_msgs/Detection2DArray."""

    header: Header
    detections: tuple[Detection2D, ...] = ()


@dataclass(frozen=True, eq=False)
class Gid:
    """rmw_dds_common/Gid: the 16 bytes of a DDS GUID (Iron and newer)."""

    data: UInt8Array


@dataclass(frozen=True)
class NodeEntitiesInfo:
    """rmw_dds_common/NodeEntitiesInfo: which endpoints belong to a node."""

    node_namespace: str = '/'
    node_name: str = ''
    reader_gid_seq: tuple[Gid, ...] = ()
    writer_gid_seq: tuple[Gid, ...] = ()


@dataclass(frozen=True)
class ParticipantEntitiesInfo:
    """rmw_dds_common/ParticipantEntitiesInfo: which nodes live in a participant."""

    gid: Gid
    node_entities_info_seq: tuple[NodeEntitiesInfo, ...] = ()


CLASSES: dict[str, type] = {
    'builtin_interfaces/msg/Time': Stamp,
    'std_msgs/msg/Header': Header,
    'sensor_msgs/msg/Image': RawImage,
    'sensor_msgs/msg/CompressedImage': RawCompressedImage,
    'std_msgs/msg/Float32': Float32,
    'std_msgs/msg/Bool': Bool,
    'diagnostic_msgs/msg/KeyValue': KeyValue,
    'diagnostic_msgs/msg/DiagnosticStatus': DiagnosticStatus,
    'diagnostic_msgs/msg/DiagnosticArray': DiagnosticArray,
    'vision_msgs/msg/VisionClass': VisionClass,
    'vision_msgs/msg/LabelInfo': LabelInfo,
    'vision_msgs/msg/Point2D': Point2D,
    'vision_msgs/msg/Pose2D': Pose2D,
    'vision_msgs/msg/BoundingBox2D': BoundingBox2D,
    'geometry_msgs/msg/Point': Point,
    'geometry_msgs/msg/Quaternion': Quaternion,
    'geometry_msgs/msg/Pose': Pose,
    'geometry_msgs/msg/PoseWithCovariance': PoseWithCovariance,
    'vision_msgs/msg/ObjectHypothesis': ObjectHypothesis,
    'vision_msgs/msg/ObjectHypothesisWithPose': ObjectHypothesisWithPose,
    'vision_msgs/msg/Detection2D': Detection2D,
    'vision_msgs/msg/Detection2DArray': Detection2DArray,
    'rmw_dds_common/msg/Gid': Gid,
    'rmw_dds_common/msg/NodeEntitiesInfo': NodeEntitiesInfo,
    'rmw_dds_common/msg/ParticipantEntitiesInfo': ParticipantEntitiesInfo,
}
"""Message type name to its dataclass."""

TYPE_NAMES: dict[type, str] = {cls: name for name, cls in CLASSES.items()}
"""Dataclass to its message type name."""
