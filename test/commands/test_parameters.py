from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ros2_ood_monitor.commands.parameters import page
from ros2_ood_monitor.parameter import ParameterError
from ros2_ood_monitor.parameter_file import parameters_yaml, read_parameters
from ros2_ood_monitor.parameters import PARAMETERS, check_parameter
from ros2_ood_monitor.supervision.config import SupervisionConfig

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'monitor.yaml'
    path.write_text(text, encoding='utf-8')
    return path


def test_every_default_is_allowed_and_everything_is_described():
    for name, parameter in PARAMETERS.items():
        assert parameter.check(parameter.default) == parameter.default
        assert parameter.description.endswith('.'), name
        assert name == name.lower(), name
        # Numbers without bounds would accept what no code is made for.
        if not isinstance(parameter.default, (bool, str)):
            assert parameter.range, name


def test_the_supervision_config_is_exactly_the_group_of_the_table():
    group = {name for name in PARAMETERS if name.startswith('supervision.')}
    assert {f'supervision.{field.name}' for field in fields(SupervisionConfig)} == group
    for field in fields(SupervisionConfig):
        parameter = PARAMETERS[f'supervision.{field.name}']
        assert field.type == type(parameter.default).__name__
        assert field.default == parameter.default


def test_the_shipped_configuration_is_generated_and_reads_back_as_the_defaults():
    path = ROOT / 'config' / 'monitor.yaml'
    assert path.read_text(encoding='utf-8') == parameters_yaml()
    assert read_parameters(path) == {name: p.default for name, p in PARAMETERS.items()}


def test_the_documented_table_is_generated():
    assert (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8') == page()


def test_yaml_types_are_what_ros_insists_on():
    section = yaml.safe_load(parameters_yaml())['/**']['ros__parameters']
    for name, parameter in PARAMETERS.items():
        value = section
        for part in name.split('.'):
            value = value[part]
        assert type(value) is type(parameter.default), name


def test_values_come_from_the_file_and_the_more_specific_section_wins(tmp_path):
    path = write(
        tmp_path,
        """
/**:
  ros__parameters:
    use_sim_time: false
    qos_overrides: {/image: {subscription: {depth: 2}}}
    threads: 2
    supervision: {stale_after_s: 1, latch: true}
/front/ood_monitor:
  ros__parameters:
    supervision.stale_after_s: 0.8
/rear/ood_monitor:
  ros__parameters: {threads: 7}
""",
    )
    values = read_parameters(path, '/front/ood_monitor')
    assert set(values) == set(PARAMETERS)
    assert values['threads'] == 2
    config = SupervisionConfig.from_parameters(values)
    assert config == SupervisionConfig(stale_after_s=0.8, latch=True)
    assert isinstance(read_parameters(path)['supervision.stale_after_s'], float)


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('supervision: {stale_after: 1.0}', "unknown key 'supervision.stale_after' in {}; did you "
         "mean 'supervision.stale_after_s'?"),
        ('bundel: x', "unknown key 'bundel' in {}; did you mean 'bundle'?"),
        ('zzzzzz: 1', "unknown key 'zzzzzz' in {}"),
        ('threads: two', "threads in {} must be a whole number, not 'two'"),
        ('threads: true', 'threads in {} must be a whole number, not True'),
        ('threads: 1.5', 'threads in {} must be a whole number, not 1.5'),
        ('threads: -1', 'threads in {} must be 0 to 1024, not -1'),
        ('supervision: {release_s: .nan}', 'supervision.release_s in {} must be 0 to 60'),
        ('supervision: {latch: 1}', 'supervision.latch in {} must be true or false, not 1'),
        ('supervision: 3', "unknown key 'supervision' in {}"),
        ('backend: cuda', 'backend in {} must be one of auto, tensorrt, openvino, onnxruntime'),
        ('bundle: {a: b}', "unknown key 'bundle.a' in {}"),
        ('bundle:', 'bundle in {} must be a text, not None'),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_with_file_and_remedy(tmp_path, line, words):
    path = write(tmp_path, f'/**:\n  ros__parameters:\n    {line}\n')
    with pytest.raises(ParameterError) as caught:
        read_parameters(path)
    assert words.format(path) in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'has no parameters for /ood_monitor'),
        ('- 1', 'has no parameters for /ood_monitor'),
        ('threads: 2', 'has no parameters for /ood_monitor'),
        ('/other:\n  ros__parameters: {}', 'has no parameters for /ood_monitor'),
        ('/**:\n  threads: 2', 'must hold one key, ros__parameters'),
        ('/**: 3', 'must hold one key, ros__parameters'),
        ('/**: [', 'cannot read the parameters'),
        ('/**:\n  ros__parameters: 3', 'must hold names and values, not 3'),
    ],
)
def test_a_file_that_is_no_parameter_file_is_refused(tmp_path, text, words):
    with pytest.raises(ParameterError) as caught:
        read_parameters(write(tmp_path, text))
    assert words in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r'absent\.yaml'):
        read_parameters(tmp_path / 'absent.yaml')


def test_the_config_names_the_parameter_that_is_out_of_range():
    with pytest.raises(ParameterError, match=r'supervision.heartbeat_hz must be 10 to 100, not 5'):
        SupervisionConfig(heartbeat_hz=5)
    with pytest.raises(ParameterError, match=r'black_level must be below supervision.white_level'):
        SupervisionConfig(black_level=200.0, white_level=100.0)
    assert SupervisionConfig(release_s=1).release_s == 1.0


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ParameterError, match='did you mean'):
        check_parameter('supervision.heartbeat', 10.0)
