"""Images of this package to and from OpenCV arrays by cv_bridge, for nodes that use it already.

The monitor converts with NumPy instead: cv_bridge may be built for another NumPy or OpenCV, and it
scales 16-bit images silently. Needs `cv_bridge` and `sensor_msgs` of a sourced ROS 2:

    from ros2_ood_monitor.messages import cv_bridge_images

    bgr = cv_bridge_images.to_cv2(camera_message, 'bgr8')
    raw = cv_bridge_images.from_cv2(bgr, 'bgr8', Header(Stamp(12, 0), 'camera'))
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from ros2_ood_monitor.frame import Header, RawImage


class CvBridgeError(RuntimeError):
    """cv_bridge is missing or cannot convert the image; the message says which and why."""


def to_cv2(image: Any, encoding: str = 'passthrough') -> np.ndarray[Any, Any]:
    """Return a `RawImage` or `sensor_msgs/Image` as an array (H, W) or (H, W, C) of `encoding`.

    Raises CvBridgeError.
    """
    message = _to_ros(image) if isinstance(image, RawImage) else image
    try:
        return np.asarray(_bridge().imgmsg_to_cv2(message, desired_encoding=encoding))
    except CvBridgeError:
        raise
    except Exception as error:  # its own error class, and what OpenCV and NumPy raise below it
        raise CvBridgeError(
            f'cv_bridge cannot turn {message.encoding} into {encoding}: {error}'
        ) from error


def from_cv2(image: np.ndarray[Any, Any], encoding: str, header: Header) -> RawImage:
    """Return an array (H, W) or (H, W, C) of `encoding` as a `RawImage`; raises CvBridgeError."""
    try:
        message = _bridge().cv2_to_imgmsg(image, encoding=encoding)
    except CvBridgeError:
        raise
    except Exception as error:
        raise CvBridgeError(f'cv_bridge cannot make {encoding} of it: {error}') from error
    return RawImage(
        header,
        message.height,
        message.width,
        message.encoding,
        message.is_bigendian,
        message.step,
        np.frombuffer(message.data, np.uint8),
    )


def _bridge() -> Any:
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # built for another NumPy it raises more than ImportError
        raise CvBridgeError(
            f'cv_bridge does not load ({error}); '
            'type: sudo apt install ros-$ROS_DISTRO-cv-bridge, and source ROS 2'
        ) from error
    return CvBridge()


def _to_ros(image: RawImage) -> Any:
    from sensor_msgs.msg import Image

    message = Image(
        height=image.height,
        width=image.width,
        encoding=image.encoding,
        is_bigendian=image.is_bigendian,
        step=image.step,
        data=array('B', image.data.tobytes()),
    )
    message.header.frame_id = image.header.frame_id
    message.header.stamp.sec = image.header.stamp.sec
    message.header.stamp.nanosec = image.header.stamp.nanosec
    return message
