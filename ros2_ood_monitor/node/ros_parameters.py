"""The parameter table as ROS parameters: declared, described, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from ros2_ood_monitor.parameter import Parameter, ParameterError, Value
from ros2_ood_monitor.parameter_file import ROS_OWNED
from ros2_ood_monitor.parameters import PARAMETERS, check_parameter
from ros2_ood_monitor.supervision.config import GROUP, SupervisionConfig

ON_CONFIGURE = (
    'bundle',
    'require_certified',
    'backend',
    'threads',
    'region_of_interest.horizon',
    'region_of_interest.polygon',
    'second_look_every',
    'supervision.restart_attempts',
    'supervision.restart_backoff_s',
)
"""Parameters that are not live but may change until the node is configured."""


class RosParameters:
    """The runtime parameters of a node that was made with every override declared.

    A wrong start value does not stop the node, which has to publish that something is wrong; it
    is kept in `errors`, by parameter, until it is set again.
    """

    def __init__(self, node: Node) -> None:
        given = {name: item.value for name, item in node.get_parameters_by_prefix('').items()}
        self.errors: dict[str, str] = {}
        for name, value in given.items():
            if name.partition('.')[0] not in ROS_OWNED:
                try:
                    check_parameter(name, value)
                except ParameterError as error:
                    self.errors[name] = str(error)
        self.values: dict[str, Value] = {
            name: parameter.default
            if name in self.errors
            else check_parameter(name, given.get(name, parameter.default))
            for name, parameter in PARAMETERS.items()
        }
        try:
            SupervisionConfig.from_parameters(self.values)
        except ParameterError as error:
            self.errors[GROUP] = str(error)
            self.values.update(
                (name, parameter.default)
                for name, parameter in PARAMETERS.items()
                if name.startswith(f'{GROUP}.')
            )
        for name, parameter in PARAMETERS.items():
            # Again with its type and description; YAML wrote 1 where 1.0 is meant.
            if node.has_parameter(name):
                node.undeclare_parameter(name)
            node.declare_parameter(
                name, self.values[name], _descriptor(parameter), ignore_override=True
            )

    def check(self, changes: Iterable[Any], configured: bool) -> SetParametersResult:
        """Accept or refuse a request to set parameters, without any other effect.

        `configured` tells that the node uses the parameters that are not live.
        """
        wanted = {item.name: item.value for item in changes if item.name in PARAMETERS}
        try:
            for name, value in wanted.items():
                wanted[name] = check_parameter(name, value)
                if wanted[name] != self.values[name]:
                    _check_moment(PARAMETERS[name], configured)
            SupervisionConfig.from_parameters({**self.values, **wanted})
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def refresh(self, node: Node) -> None:
        """Read the values back from the node; those set since then are in order."""
        for name in PARAMETERS:
            value = node.get_parameter(name).value
            if value != self.values[name]:
                self.values[name] = value
                self.errors.pop(name, None)
                self.errors.pop(GROUP, None)


def _choices(parameter: Parameter) -> str:
    return f'one of {parameter.range}' if parameter.choices else ''


def _moment(parameter: Parameter) -> str:
    if parameter.live:
        return ''
    return 'read on configure' if parameter.name in ON_CONFIGURE else 'read at the start'


def _check_moment(parameter: Parameter, configured: bool) -> None:
    if parameter.live or (parameter.name in ON_CONFIGURE and not configured):
        return
    advice = (
        'deactivate and clean up the node first (ros2 lifecycle set)'
        if parameter.name in ON_CONFIGURE
        else 'start the node with the new value'
    )
    raise ParameterError(f'{parameter.name} cannot change while the monitor uses it; {advice}')


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    unit = f' [{parameter.unit}]' if parameter.unit else ''
    descriptor = ParameterDescriptor(
        description=parameter.description + unit,
        additional_constraints='; '.join(filter(None, (_choices(parameter), _moment(parameter)))),
    )
    if isinstance(parameter.default, float) and math.isfinite(parameter.maximum):
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(parameter.minimum), to_value=float(parameter.maximum)
            )
        ]
    elif isinstance(parameter.default, int) and math.isfinite(parameter.maximum):
        descriptor.integer_range = [
            IntegerRange(from_value=int(parameter.minimum), to_value=int(parameter.maximum))
        ]
    return descriptor
