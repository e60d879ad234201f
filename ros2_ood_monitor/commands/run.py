"""`ood-monitor run`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ros2_ood_monitor.bus.command_line import add_bus_arguments, join, stop_on_signals

if TYPE_CHECKING:
    from ros2_ood_monitor.parameter import Value

NAME = 'run'
SUMMARY = 'the monitor: watch a camera topic, publish segmentation, map and alert'
DESCRIPTION = (
    'Watches a camera topic with a model bundle until Ctrl-C. Options override the '
    'configuration file, which overrides the defaults (ood-monitor parameters).'
)
EXAMPLES = """\
examples:
  ood-monitor run --bundle runs/demo/bundle
  ood-monitor run --bundle DIR --image-topic camera/image_raw --camera front
  ood-monitor run --config my_monitor.yaml --network --domain-id 5

see the alert in another terminal:
  ood-monitor watch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--bundle', metavar='DIR', help='model bundle')
    parser.add_argument('--camera', metavar='NAME', help='name in alerts (camera)')
    parser.add_argument('--image-topic', metavar='T', help='camera topic (image)')
    parser.add_argument('--config', type=Path, metavar='FILE', help='ROS 2 parameter file')
    parser.add_argument(
        '--backend', choices=('auto', 'openvino', 'onnxruntime', 'tensorrt'), help='engine (auto)'
    )
    parser.add_argument(
        '--middleware',
        default='auto',
        choices=('auto', 'dds', 'ros'),
        help='auto: rclpy where ROS 2 is sourced or Cyclone DDS is missing, else DDS',
    )
    add_bus_arguments(parser)


def parameters(args: argparse.Namespace) -> dict[str, Value]:
    """Return every parameter: defaults, then the file, then the options."""
    from ros2_ood_monitor.parameter import ParameterError
    from ros2_ood_monitor.parameter_file import read_parameters
    from ros2_ood_monitor.parameters import PARAMETERS, check_parameter

    values = {name: parameter.default for name, parameter in PARAMETERS.items()}
    if args.config is not None:
        values = read_parameters(args.config)
    options = {
        'bundle': args.bundle,
        'backend': args.backend,
        'camera.name': args.camera,
        'camera.image_topic': args.image_topic,
    }
    for name, value in options.items():
        if value is not None:
            values[name] = check_parameter(name, value, 'the command line')
    if not values['bundle']:
        raise ParameterError('no model bundle is named; add --bundle DIR')
    return values


def execute(args: argparse.Namespace) -> int:
    """Run the monitor until Ctrl-C; exit code 1 if its engines have failed for good."""
    from ros2_ood_monitor.bundle.model_bundle import ModelBundle

    values = parameters(args)
    bundle = ModelBundle.load(Path(str(values['bundle'])).expanduser())
    if args.middleware == 'ros' or (args.middleware == 'auto' and prefers_ros()):
        return run_ros(args, values)

    from ros2_ood_monitor.node.monitor_node import run_monitor

    stop = stop_on_signals()
    middleware = join(args, 'ood_monitor')
    sys.stderr.write(
        f'{bundle.name} watches {values["camera.image_topic"]}; '
        "'ood-monitor watch' shows the alert, Ctrl-C ends\n"
    )
    try:
        failure = run_monitor(middleware, bundle, values, stop)
    finally:
        middleware.close()
    if failure is not None:
        sys.stderr.write(f'ood-monitor run: {failure}; start it again\n')
        return 1
    return 0


def prefers_ros() -> bool:
    """Return whether rclpy is the bus to use: ROS 2 is sourced, or Cyclone DDS is not there.

    A rclpy that came with pip is no reason: the other commands speak Cyclone DDS on the loopback
    interface, which a ROS 2 of default settings does not hear.
    """
    if importlib.util.find_spec('rclpy') is None:
        return False
    return 'AMENT_PREFIX_PATH' in os.environ or importlib.util.find_spec('cyclonedds') is None


def run_ros(args: argparse.Namespace, values: dict[str, Value]) -> int:
    """Hand over to the lifecycle node, configured and activated at once."""
    from ros2_ood_monitor.node.lifecycle_node import main
    from ros2_ood_monitor.parameters import PARAMETERS

    if args.domain_id is not None:
        os.environ['ROS_DOMAIN_ID'] = str(args.domain_id)
    words = ['--ros-args', '-p', 'autostart:=true']
    for name, value in values.items():
        if value != PARAMETERS[name].default:
            words += ['-p', f'{name}:={json.dumps(value)}']  # JSON scalars are YAML
    if args.namespace:
        words += ['-r', f'__ns:=/{args.namespace.strip("/")}']
    return main(words)
