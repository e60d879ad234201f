"""Keep every ROS 2 process of the tests on the loopback interface."""

from __future__ import annotations

import os
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

PROFILE = Path(__file__).with_name('fastdds_loopback.xml')


def stay_on_this_machine() -> None:
    """Set what contexts read that are initialised from now on, here and in child processes."""
    if 'fastrtps' in get_rmw_implementation_identifier():
        # Not the discovery range: for LOCALHOST the RMW adds a transport on every interface.
        os.environ.pop('ROS_AUTOMATIC_DISCOVERY_RANGE', None)
        os.environ.pop('ROS_LOCALHOST_ONLY', None)
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            os.environ[name] = str(PROFILE)
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        if os.environ.get('ROS_DISTRO') == 'humble':
            os.environ['ROS_LOCALHOST_ONLY'] = '1'
