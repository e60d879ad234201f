"""Runtime parameters in files: ROS parameter YAML in and out, the documentation's table out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

from ros2_ood_monitor.parameter import Parameter, ParameterError, Value
from ros2_ood_monitor.parameters import PARAMETERS, check_parameter

NODE_NAME = 'ood_monitor'

ROS_OWNED = ('use_sim_time', 'qos_overrides', 'start_type_description_service', 'autostart')
"""Parameters every ROS node has; allowed in a file, not ours to check."""


def read_parameters(path: Path, node: str = f'/{NODE_NAME}') -> dict[str, Value]:
    """Read a ROS parameter file and return every parameter, the unmentioned ones at their default.

    Sections `/**`, the fully qualified name `node` and its last part apply, in this order. Raises
    ParameterError with file, key and remedy.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ParameterError(f'cannot read the parameters in {path}: {reason}') from error
    sections = ('/**', node, node.rpartition('/')[2])
    if not isinstance(document, dict) or not any(name in document for name in sections):
        raise ParameterError(
            f'{path} has no parameters for {node}; its first line should read "/**:", its second '
            f'"  ros__parameters:"'
        )
    values = {name: parameter.default for name, parameter in PARAMETERS.items()}
    for section in sections:
        if section not in document:
            continue
        below = document[section]
        if not isinstance(below, dict) or set(below) != {'ros__parameters'}:
            raise ParameterError(f'{section!r} in {path} must hold one key, ros__parameters')
        values_here = below['ros__parameters']
        if not isinstance(values_here, dict):
            raise ParameterError(
                f'{section!r} in {path} must hold names and values, not {values_here!r:.60}'
            )
        for name, value in _leaves('', values_here):
            if name.partition('.')[0] not in ROS_OWNED:
                values[name] = check_parameter(name, value, str(path))
    return values


def _leaves(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(f'{prefix}.{key}' if prefix else str(key), below)
    else:
        yield prefix, value


def parameters_yaml() -> str:
    """Return `config/monitor.yaml`: every parameter at its default, described."""
    lines = ['# Every runtime parameter at its default.', '/**:', '  ros__parameters:']
    group = ''
    for parameter in PARAMETERS.values():
        prefix, _, leaf = parameter.name.rpartition('.')
        if prefix and prefix != group:
            lines.append(f'    {prefix}:')
        group = prefix
        indent = ' ' * (6 if prefix else 4)
        limits = ' '.join(part for part in (parameter.range, parameter.unit) if part)
        note = f'{parameter.description} ({limits})' if limits else parameter.description
        lines += textwrap.wrap(
            note, 99, initial_indent=f'{indent}# ', subsequent_indent=f'{indent}# '
        )
        lines.append(f'{indent}{leaf}: {_scalar(parameter)}')
    return '\n'.join(lines) + '\n'


def parameters_markdown() -> str:
    """Return the parameter table of the documentation."""
    lines = [
        '| parameter | default | range | unit | live | meaning |',
        '|---|---|---|---|---|---|',
    ]
    for parameter in PARAMETERS.values():
        cells = (
            f'`{parameter.name}`',
            f'`{_scalar(parameter)}`',
            parameter.range,
            parameter.unit,
            'yes' if parameter.live else 'no',
            parameter.description,
        )
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _scalar(parameter: Parameter) -> str:
    # repr writes 1.0 for a float, which ROS insists on, and quotes texts.
    if isinstance(parameter.default, bool):
        return str(parameter.default).lower()
    return repr(parameter.default)
