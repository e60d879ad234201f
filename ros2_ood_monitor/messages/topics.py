"""The topics of the monitor: relative name, message type and quality of service, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Qos:
    """Quality of service of one endpoint; history is always keep-last.

    `latched` (transient local) hands the newest message to subscribers that come later.
    `deadline_ms` and `lease_ms` (automatic liveliness) are offered so that subscribers may
    request them; None offers nothing.
    """

    reliable: bool
    latched: bool = False
    depth: int = 1
    deadline_ms: int | None = None
    lease_ms: int | None = None


@dataclass(frozen=True)
class Topic:
    """A named channel for one message type.

    A relative `name` is resolved in the node's namespace, `/name` is taken as it is.
    """

    name: str
    type_name: str
    qos: Qos

    def under(self, prefix: str) -> Topic:
        """Return the same topic below `prefix`; absolute names stay as they are."""
        if not prefix or self.name.startswith('/'):
            return self
        return replace(self, name=f'{prefix}/{self.name}')


IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'

_RESULT = Qos(reliable=True)
# Best effort receives from reliable and best-effort cameras alike. The monitor keeps only the
# newest frame and counts what it drops; a few places here let it see, and count, those drops.
_CAMERA = Qos(reliable=False, depth=4)
_ALERT = Qos(reliable=True, latched=True, deadline_ms=200, lease_ms=500)

SEGMENTATION = Topic('ood/segmentation', IMAGE, _RESULT)
LABEL_INFO = Topic('ood/label_info', 'vision_msgs/msg/LabelInfo', replace(_RESULT, latched=True))
ANOMALY_MAP = Topic('ood/anomaly_map', IMAGE, _RESULT)
REGIONS = Topic('ood/regions', 'vision_msgs/msg/Detection2DArray', _RESULT)
OVERLAY = Topic('ood/overlay', IMAGE, _RESULT)
OVERLAY_COMPRESSED = Topic('ood/overlay/compressed', COMPRESSED_IMAGE, _RESULT)
SCORE = Topic('ood/score', 'std_msgs/msg/Float32', _RESULT)
ALERT = Topic('ood/alert', 'diagnostic_msgs/msg/DiagnosticArray', _ALERT)
UNSAFE = Topic('ood/unsafe', 'std_msgs/msg/Bool', _ALERT)
DIAGNOSTICS = Topic(
    '/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', Qos(reliable=True, depth=10)
)

PUBLISHED = (
    SEGMENTATION, LABEL_INFO, ANOMALY_MAP, REGIONS, OVERLAY, OVERLAY_COMPRESSED, SCORE, ALERT,
    UNSAFE, DIAGNOSTICS,
)  # fmt: skip
"""Everything a monitor publishes."""

OPTIONAL = (REGIONS, LABEL_INFO)
"""Topics that a ROS installation without their message package (vision_msgs) does without."""


def camera_input(name: str = 'image', compressed: bool = False) -> Topic:
    """Return the topic a monitor subscribes to; `name` of a compressed one is given in full."""
    return Topic(name, COMPRESSED_IMAGE if compressed else IMAGE, _CAMERA)


def camera_output(name: str, compressed: bool = False) -> Topic:
    """Return the topic a camera publishes on: reliable, so that every subscriber is served."""
    return Topic(name, COMPRESSED_IMAGE if compressed else IMAGE, _RESULT)
