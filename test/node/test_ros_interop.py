"""The monitor without ROS, as a process on DDS, and a real ROS 2: each sees the other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason="needs rclpy: pip install '.[ros]', or a sourced ROS 2")
pytest.importorskip('cyclonedds', reason='needs: pip install cyclonedds')

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image
from std_msgs.msg import Bool
from support.dds_domain import own_domain
from support.ros_peer import LATCHED, PATIENCE_S, Camera, Peer
from support.tiny_bundle import anomaly_image, normal_image

ROOT = Path(__file__).parents[2]
PARAMETERS = """\
/**:
  ros__parameters:
    threads: 1
    supervision: {stale_after_s: 3.0, max_age_ms: 3000.0}
"""


@pytest.fixture(scope='module')
def environment() -> Iterator[dict[str, str]]:
    with own_domain() as number:
        yield {
            **os.environ,
            'ROS_DOMAIN_ID': str(number),
            'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
        }


@pytest.fixture(scope='module')
def monitor(tiny_bundle, environment, tmp_path_factory) -> Iterator[subprocess.Popen]:
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
        env=environment,
    )
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope='module')
def peer(monitor, environment) -> Iterator[Peer]:
    peer = Peer(int(environment['ROS_DOMAIN_ID']), namespace='front')
    yield peer
    peer.close()


def ros2(environment: dict[str, str], *arguments: str) -> str:
    result = subprocess.run(
        ['ros2', *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    return result.stdout + result.stderr


def test_ros_camera_feeds_the_monitor_and_rclpy_hears_the_alert(peer):
    for topic in ('segmentation', 'overlay'):
        peer.listen(Image, f'ood/{topic}')
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
        camera.shown = anomaly_image
        peer.wait_state('ALERT')
        assert peer.next('ood/unsafe').data is True


def test_rclpy_reads_the_classes_and_regions(peer):
    vision = pytest.importorskip('vision_msgs.msg', reason='needs vision_msgs')
    peer.listen(vision.Detection2DArray, 'ood/regions')
    labels = peer.listen(vision.LabelInfo, 'ood/label_info', LATCHED)
    with Camera(peer, anomaly_image):
        peer.wait_state('ALERT')
        peer.wait(lambda: peer.got['ood/regions'][-1][1].detections, 'a region')
    assert labels[0][1].class_map[0].class_name == 'road'


def test_rclpy_sees_the_node_and_what_its_topics_offer(peer):
    peer.wait(peer.alert, 'an alert')
    nodes = peer.wait(
        lambda: ('ood_monitor', '/front') in peer.node.get_node_names_and_namespaces(), 'the node'
    )
    assert nodes
    (info,) = peer.node.get_publishers_info_by_topic('/front/ood/alert')
    assert (info.node_name, info.node_namespace) == ('ood_monitor', '/front')
    assert info.topic_type == 'diagnostic_msgs/msg/DiagnosticArray'
    assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert info.qos_profile.deadline.nanoseconds == 200_000_000


@pytest.mark.skipif(shutil.which('ros2') is None, reason='needs ros2cli')
def test_ros_tools_see_the_monitor(peer, environment):
    peer.wait(peer.alert, 'an alert')
    nodes = ros2(environment, 'node', 'list', '--no-daemon', '--spin-time', '5')
    assert '/front/ood_monitor' in nodes.split()
    echo = ros2(environment, 'topic', 'echo', '--once', '/front/ood/alert')
    assert "name: 'ood_monitor: camera alert'" in echo
    assert 'key: state' in echo
    info = ros2(
        environment,
        *('topic', 'info', '--verbose', '--no-daemon', '--spin-time', '5', '/front/ood/alert'),
    )
    assert 'Node name: ood_monitor' in info
    assert 'Durability: TRANSIENT_LOCAL' in info
