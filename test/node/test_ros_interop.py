"""The monitor without ROS, as a process on DDS, and a real ROS 2: each sees the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs a sourced ROS 2; make test-ros')
pytest.importorskip('cyclonedds', reason='needs: pip install cyclonedds')

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image
from std_msgs.msg import Bool
from support.ros_peer import LATCHED, PATIENCE_S, Camera, Peer
from support.tiny_bundle import anomaly_image, normal_image
from vision_msgs.msg import Detection2DArray, LabelInfo

DOMAIN = 1 + os.getpid() % 100
ENVIRONMENT = {
    **os.environ,
    'ROS_DOMAIN_ID': str(DOMAIN),
    'PYTHONPATH': f'{Path(__file__).parents[2]}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
}
PARAMETERS = """\
/**:
  ros__parameters:
    threads: 1
    supervision: {stale_after_s: 3.0, max_age_ms: 3000.0}
"""


@pytest.fixture(scope='module')
def monitor(tiny_bundle: Path, tmp_path_factory) -> Iterator[subprocess.Popen]:
    if 'zenoh' in get_rmw_implementation_identifier():
        pytest.skip('rmw_zenoh does not speak DDS')
    config = tmp_path_factory.mktemp('config') / 'parameters.yaml'
    config.write_text(PARAMETERS)
    process = subprocess.Popen(
        [
            sys.executable,
            '-m',
            'ros2_ood_monitor',
            'run',
            '--middleware',
            'dds',
            '--bundle',
            str(tiny_bundle),
            '--config',
            str(config),
            '--namespace',
            'front',
        ],
        env=ENVIRONMENT,
    )
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope='module')
def peer(monitor) -> Iterator[Peer]:
    peer = Peer(DOMAIN, namespace='front')
    yield peer
    peer.close()


def ros2(*arguments: str) -> str:
    result = subprocess.run(
        ['ros2', *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    return result.stdout + result.stderr


def test_ros_camera_feeds_the_monitor_and_rclpy_hears_the_alert(peer):
    for topic, cls in (('segmentation', Image), ('regions', Detection2DArray), ('overlay', Image)):
        peer.listen(cls, f'ood/{topic}')
    peer.listen(LabelInfo, 'ood/label_info', LATCHED)
    peer.listen(Bool, 'ood/unsafe', LATCHED)
    peer.listen(DiagnosticArray, '/diagnostics')
    with Camera(peer, normal_image) as camera:
        peer.wait_state('NOMINAL')
        labels = peer.next('ood/segmentation')
        assert (labels.header.stamp.sec, labels.header.stamp.nanosec) in camera.sent
        assert labels.header.frame_id == 'front_optical'
        assert peer.next('ood/overlay').encoding == 'rgb8'
        assert peer.next('ood/unsafe').data is False
        assert peer.next('/diagnostics').status[0].hardware_id == 'camera'
        camera.image = anomaly_image
        peer.wait_state('ALERT')
        peer.wait(lambda: peer.got['ood/regions'][-1][1].detections, 'a region')
        assert peer.next('ood/unsafe').data is True
    assert peer.got['ood/label_info'][0][1].class_map[0].class_name == 'road'


def test_ros_tools_see_the_monitor(peer):
    peer.wait(peer.alert, 'an alert')
    assert '/front/ood_monitor' in ros2('node', 'list', '--no-daemon', '--spin-time', '5').split()
    echo = ros2('topic', 'echo', '--once', '/front/ood/alert')
    assert "name: 'ood_monitor: camera alert'" in echo
    assert 'key: state' in echo
    info = ros2(
        'topic', 'info', '--verbose', '--no-daemon', '--spin-time', '5', '/front/ood/alert'
    )
    assert 'Node name: ood_monitor' in info
    assert 'Durability: TRANSIENT_LOCAL' in info
