"""The shipped profile of Fast DDS carries raw 720p images between two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.dds_domain import own_domain

pytest.importorskip('rclpy')
pytestmark = [pytest.mark.slow, pytest.mark.alone]

PROFILE = Path(__file__).parents[2] / 'config' / 'fastdds.xml'
SENT = 90
CAMERA = f"""
import array, sys, time, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('camera')
best = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, 'image', best)
deadline = time.monotonic() + 20
while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
    time.sleep(0.05)
time.sleep(0.5)
image = Image(height=720, width=1280, encoding='rgb8', step=3840)
image.data = array.array('B', bytes(3840 * 720))
for number in range({SENT}):
    image.header.stamp.sec = number + 1
    publisher.publish(image)
    time.sleep(1 / 30)
time.sleep(0.5)
rclpy.shutdown()
"""
LISTENER = """
import sys, time, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('listener')
best = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
heard = []
hear = lambda raw: heard.append(time.monotonic())
node.create_subscription(Image, 'image', hear, best, raw=True)
deadline = time.monotonic() + 40
while time.monotonic() < deadline and not (heard and time.monotonic() - heard[-1] > 2):
    rclpy.spin_once(node, timeout_sec=0.1)
print(len(heard))
rclpy.shutdown()
"""


def test_raw_720p_images_arrive(tmp_path: Path) -> None:
    # As shipped, but for sockets of the loopback interface only.
    local = (
        '<type>UDPv4</type><interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>'
    )
    profile = tmp_path / 'fastdds.xml'
    text = PROFILE.read_text(encoding='utf-8')
    assert text.count('<type>UDPv4</type>') == 1
    profile.write_text(text.replace('<type>UDPv4</type>', local), encoding='utf-8')
    with own_domain() as domain:
        environment = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain),
            'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp',
            'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile),
            'FASTDDS_DEFAULT_PROFILES_FILE': str(profile),
        }
        for name in ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'):
            environment.pop(name, None)
        words = {'env': environment, 'text': True, 'stdout': subprocess.PIPE}
        with subprocess.Popen([sys.executable, '-c', LISTENER], **words) as listener:
            subprocess.run([sys.executable, '-c', CAMERA], check=True, **words)
            heard, _ = listener.communicate(timeout=60)
    assert int(heard) >= 0.98 * SENT
