"""`ros2 launch ros2_ood_monitor monitor.launch.py` with a real process, a camera and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import tempfile
import unittest
from pathlib import Path

import pytest

pytest.importorskip('launch_testing', reason='needs a sourced ROS 2 with launch_testing')

import launch_testing
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState
from support.dds_domain import own_domain
from support.ros_install import ROOT, install_links
from support.ros_peer import Camera, Peer
from support.tiny_bundle import make_tiny_bundle, normal_image

_RESERVED = contextlib.ExitStack()
DOMAIN = _RESERVED.enter_context(own_domain())

PARAMETERS = """\
/**:
  ros__parameters:
    threads: 1
    supervision:
      stale_after_s: 3.0
      max_age_ms: 3000.0
"""


@pytest.mark.launch_test
def generate_test_description() -> tuple[LaunchDescription, dict]:
    folder = Path(tempfile.mkdtemp(prefix='ood_monitor_launch_'))
    bundle = make_tiny_bundle(folder / 'bundle')
    parameters = folder / 'parameters.yaml'
    parameters.write_text(PARAMETERS)
    environment = {
        **install_links(folder / 'install'),
        'ROS_DOMAIN_ID': str(DOMAIN),
        'ROS_LOG_DIR': str(folder / 'log'),
    }
    os.environ.update(environment)  # the launch process looks the package up
    description = LaunchDescription(
        [
            *(SetEnvironmentVariable(*item) for item in environment.items()),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(ROOT / 'launch' / 'monitor.launch.py')),
                launch_arguments={
                    'bundle': str(bundle),
                    'params_file': str(parameters),
                    'namespace': 'front',
                    'image_topic': '/front/camera/image_raw',
                }.items(),
            ),
            launch_testing.actions.ReadyToTest(),
        ]
    )
    return description, {}


class TestLaunchedMonitor(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.peer = Peer(DOMAIN, namespace='front')

    @classmethod
    def tearDownClass(cls) -> None:
        cls.peer.close()

    def test_starts_by_itself_and_watches_the_camera(self) -> None:
        with Camera(self.peer, normal_image, '/front/camera/image_raw'):
            self.peer.wait_state('NOMINAL')
        state = self.peer.call(GetState, '/front/ood_monitor/get_state', GetState.Request())
        assert state.current_state.label == 'active'


@launch_testing.post_shutdown_test()
class TestAfterCtrlC(unittest.TestCase):
    def test_process_ended_in_good_order(self, proc_info) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)

    def test_nothing_went_wrong(self, proc_output) -> None:
        printed = ''.join(text.text.decode() for text in proc_output)
        assert 'watching /front/camera/image_raw' in printed
        assert 'Traceback' not in printed
