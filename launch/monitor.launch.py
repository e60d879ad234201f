"""Start the monitor of one camera.

One camera:       ros2 launch ros2_ood_monitor monitor.launch.py bundle:=/path/to/bundle
Another topic:    ... image_topic:=/camera/image_raw
Several cameras:  include this file once for each, with another namespace and camera_name.
"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

PACKAGE = 'ros2_ood_monitor'
FLAG = ['true', 'false']

# Launch argument to node parameter; an empty argument leaves the parameter file its say.
OVERRIDES = {
    'bundle': 'bundle',
    'backend': 'backend',
    'camera_name': 'camera.name',
    'image_topic': 'camera.image_topic',
    'image_transport': 'camera.image_transport',
    'black_box': 'black_box.directory',
}


def config(name: str) -> Path:
    return Path(get_package_share_directory(PACKAGE), 'config', name)


def arguments() -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            'bundle', default_value='', description='Directory of the model bundle.'
        ),
        DeclareLaunchArgument(
            'image_topic',
            default_value='',
            description='Topic of the camera images; empty: as in params_file (image).',
        ),
        DeclareLaunchArgument(
            'image_transport',
            default_value='',
            choices=['', 'raw', 'compressed'],
            description='compressed listens to <image_topic>/compressed; empty: as in '
            'params_file (raw).',
        ),
        DeclareLaunchArgument(
            'camera_name',
            default_value='',
            description='Name of the camera in alerts and diagnostics; empty: as in params_file '
            '(camera).',
        ),
        DeclareLaunchArgument(
            'backend',
            default_value='',
            choices=['', 'auto', 'tensorrt', 'openvino', 'onnxruntime'],
            description='Inference engine; empty: as in params_file (auto).',
        ),
        DeclareLaunchArgument(
            'black_box',
            default_value='',
            description='Folder for MCAP bags of the seconds around an ALERT; empty: as in '
            'params_file (none are written).',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=str(config('monitor.yaml')),
            description='ROS parameter file with everything else.',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node and its topics.'
        ),
        DeclareLaunchArgument(
            'node_name', default_value='ood_monitor', description='Name of the node.'
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='true',
            choices=FLAG,
            description='Configure and activate the node; false leaves that to a lifecycle '
            'manager.',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=FLAG,
            description='Compare image stamps with /clock. Watchdogs keep real time.',
        ),
        DeclareLaunchArgument(
            'use_respawn',
            default_value='true',
            choices=FLAG,
            description='Start the node again when it ends, as it does when its engines are '
            'beyond repair; between its end and its next alert consumers hear silence, which is '
            'FAULT.',
        ),
        DeclareLaunchArgument(
            'respawn_delay', default_value='2.0', description='Seconds before a respawn.'
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Least severe log messages to show.',
        ),
    ]


def start(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    parameters = {
        # As text: a camera named 1 would otherwise become a number on the way.
        parameter: ParameterValue(value(argument), value_type=str)
        for argument, parameter in OVERRIDES.items()
        if value(argument)
    }
    if not Path(value('params_file')).is_file():
        raise RuntimeError(
            f'params_file {value("params_file")} does not exist; correct the path, or leave the '
            'argument out'
        )
    for flag in ('autostart', 'use_sim_time'):
        parameters[flag] = value(flag) == 'true'
    actions: list[Action] = []
    if 'CYCLONEDDS_URI' not in os.environ:
        # With Cyclone DDS's default buffers most of a 720p camera never arrives.
        actions.append(
            SetEnvironmentVariable('CYCLONEDDS_URI', f'file://{config("cyclonedds.xml")}')
        )
    # Releases of Fast DDS differ in the name.
    names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    if not set(names) & set(os.environ):
        # Its shared memory is too small for them by default.
        profile = str(config('fastdds.xml'))
        actions.extend(SetEnvironmentVariable(name, profile) for name in names)
    actions.append(
        LifecycleNode(
            package=PACKAGE,
            executable='monitor_node',
            name=value('node_name'),
            namespace=value('namespace'),
            parameters=[value('params_file'), parameters],
            ros_arguments=['--log-level', value('log_level')],
            output='screen',
            respawn=value('use_respawn') == 'true',
            respawn_delay=float(value('respawn_delay')),
        )
    )
    return actions


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            # One write for each line, so that lines of several nodes do not mix.
            SetEnvironmentVariable('RCUTILS_LOGGING_BUFFERED_STREAM', '1'),
            *arguments(),
            OpaqueFunction(function=start),
        ]
    )
