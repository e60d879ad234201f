"""The optional converter: by the real cv_bridge where it works, else by one that acts like it."""

from __future__ import annotations

import sys
from array import array
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ros2_ood_monitor.frame import Header, Stamp
from ros2_ood_monitor.messages.conversions import rgb_message
from ros2_ood_monitor.messages.cv_bridge_images import CvBridgeError, from_cv2, to_cv2

HEADER = Header(Stamp(12, 7), 'camera')
CHANNELS = {'rgb8': 3, 'bgr8': 3, 'mono8': 1}


class ActingCvBridge:
    """What vision_opencv 3.4 and 4.1 do with the encodings here, from their `core.py`."""

    def imgmsg_to_cv2(self, message: Any, desired_encoding: str = 'passthrough') -> np.ndarray:
        channels = CHANNELS[message.encoding]
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        image = rows[:, : message.width * channels].reshape(message.height, message.width, -1)
        if channels == 1:
            image = image[:, :, 0]
        if desired_encoding in ('passthrough', message.encoding):
            return image
        if {desired_encoding, message.encoding} == {'rgb8', 'bgr8'}:
            return image[:, :, ::-1]
        raise RuntimeError(f'[{message.encoding}] is not convertible to [{desired_encoding}]')

    def cv2_to_imgmsg(self, image: np.ndarray, encoding: str) -> Any:
        if (image.shape[2] if image.ndim == 3 else 1) != CHANNELS[encoding]:
            raise RuntimeError('encoding and channels differ')
        return SimpleNamespace(
            height=image.shape[0],
            width=image.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=image.nbytes // image.shape[0],
            data=array('B', image.tobytes()),
        )


class RosImage(SimpleNamespace):
    def __init__(self, **fields: Any) -> None:
        header = SimpleNamespace(frame_id='', stamp=SimpleNamespace(sec=0, nanosec=0))
        super().__init__(header=header, **fields)


@pytest.fixture(params=['real', 'acting'])
def bridge(request, monkeypatch) -> None:
    if request.param == 'real':
        try:
            from cv_bridge import CvBridge

            CvBridge().cv2_to_imgmsg(np.zeros((2, 2), np.uint8), 'mono8')
        except Exception as error:
            pytest.skip(f'no cv_bridge that works with this NumPy and OpenCV: {error}')
        return
    modules = {'cv_bridge': {'CvBridge': ActingCvBridge}, 'sensor_msgs': {}}
    modules['sensor_msgs.msg'] = {'Image': RosImage}
    for name, members in modules.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def test_our_image_becomes_an_array_of_the_wanted_order(bridge, image):
    message = rgb_message(HEADER, image)
    np.testing.assert_array_equal(to_cv2(message), image)
    np.testing.assert_array_equal(to_cv2(message, 'bgr8'), image[:, :, ::-1])


@pytest.mark.parametrize('encoding', ['rgb8', 'mono8'])
def test_an_array_becomes_our_image_with_its_header_and_comes_back(bridge, image, encoding):
    array_ = image if encoding == 'rgb8' else np.ascontiguousarray(image[:, :, 0])
    message = from_cv2(array_, encoding, HEADER)
    assert message.header == HEADER
    assert (message.height, message.width, message.encoding) == (5, 7, encoding)
    assert message.step == 7 * CHANNELS[encoding]
    assert message.data.dtype == np.uint8
    np.testing.assert_array_equal(to_cv2(message), array_)


def test_what_cv_bridge_cannot_convert_is_named(bridge, image):
    with pytest.raises(CvBridgeError, match='rgb8 into'):
        to_cv2(rgb_message(HEADER, image), 'nonsense8')
    with pytest.raises(CvBridgeError, match='mono8'):
        from_cv2(image, 'mono8', HEADER)


def test_absent_cv_bridge_is_one_sentence_that_says_what_to_type(monkeypatch, image):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with pytest.raises(CvBridgeError, match='sudo apt install'):
        from_cv2(image, 'rgb8', HEADER)
