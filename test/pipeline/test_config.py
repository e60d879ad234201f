from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from offline_training.detectors.dense_flow.flow_training import default_taps
from offline_training.learning.settings import METADATA, ConfigError, item_settings, to_dict
from offline_training.learning.settings_text import commented_yaml, help_text
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.segmentation.backbones import without_weights
from offline_training.segmentation.config import BackboneConfig, PhaseConfig
from offline_training.watched.graphs import tap_shapes

SHIPPED = sorted((Path(__file__).parents[2] / 'config' / 'training').glob('*.yaml'))
BY_NAME = {path.stem: path for path in SHIPPED}
# What the files stood for when the results of docs/results.md were measured.
EFFECTIVE = yaml.safe_load(Path(__file__).with_name('effective_settings.yaml').read_text())


def written(tmp_path, text):
    path = tmp_path / 'experiment.yaml'
    path.write_text(text, encoding='utf-8')
    return path


def keys(kind: Any = Config, prefix: str = '') -> list[tuple[str, Any, Any]]:
    """Return the dotted name, the class and the field of every key."""
    found = []
    for field in dataclasses.fields(kind):
        inner = item_settings(get_type_hints(kind)[field.name])
        name = f'{prefix}{field.name}'
        found += [(name, kind, field)] if inner is None else keys(inner, f'{name}.')
    return found


KEYS = keys()
LIMITED = [
    (name, kind, field)
    for name, kind, field in KEYS
    if any(getattr(field.metadata[METADATA], limit) is not None for limit in ('low', 'above'))
]


def option(name: str, value: Any) -> list[str]:
    """Return the words that set a key; phases are a list of mappings."""
    section, _, key = name.rpartition('.')
    if section == 'backbone.phases':
        return ['--backbone.phases', yaml.safe_dump([{key: value}], default_flow_style=True)]
    return [f'--{name}', yaml.safe_dump(value).split('\n...')[0].strip()]


def outside(field: Any) -> list[Any]:
    known = field.metadata[METADATA]
    kind = type(field.default)
    values: list[Any] = []
    if known.low is not None:
        values.append(known.low - 1)
    if known.above is not None:
        values.append(known.above)
    if known.high is not None:
        values.append(known.high + 1)
    if known.multiple > 1:
        values.append(known.low + 1)
    if kind is tuple:
        return [[float(value)] * len(field.default) for value in values]
    if kind is float:
        values.append(math.nan)
    return values


@pytest.mark.parametrize('name', BY_NAME)
def test_shipped_configurations_keep_their_meaning(name):
    config = load_config(BY_NAME[name])
    values = to_dict(config)
    shapes = tap_shapes(without_weights(config.backbone.architecture), 64, 64)
    values['flow']['taps'] = values['flow']['taps'] or list(default_taps(shapes))
    for section, wanted in EFFECTIVE[name].items():
        actual = values[section]
        if isinstance(wanted, dict):
            actual = {key: actual[key] for key in wanted}
        assert actual == wanted


def test_synthetic_is_what_no_file_gives():
    assert load_config(BY_NAME['synthetic']) == load_config(None)


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['--backbone.epochs', '7', '--input.mean', '[1, 2, 3]', '--name', 'on'],
        ['--backbone.phases', '[{share: 0.5}, {share: 0.5, crop_width: 64}]'],
        ['--flow.taps', '[level2, level3]', '--calibration.block_seconds', '5.5'],
    ],
)
def test_printed_configuration_reads_back_equal(tmp_path, words):
    config = load_config(None, words)
    assert load_config(written(tmp_path, commented_yaml(config))) == config


def test_the_printed_file_says_what_every_key_means_and_may_be():
    text = commented_yaml(load_config(None))
    assert max(map(len, text.splitlines())) <= 80
    comments = ' '.join(line.strip(' #') for line in text.splitlines() if '#' in line)
    for name, _, field in KEYS:
        assert field.metadata[METADATA].help in comments, name


def test_help_has_every_key_with_meaning_and_default_within_80_columns():
    text = help_text(Config)
    assert max(map(len, text.splitlines())) <= 80
    words = ' '.join(text.split())
    for name, _, field in KEYS:
        known = field.metadata[METADATA]
        shown = name.rpartition('.')[2] if 'phases' in name else f'--{name} VALUE'
        assert f'{shown} {known.help}' in words
        if not known.derived and isinstance(field.default, int):
            assert f'default: {str(field.default).lower()}.' in words


@pytest.mark.parametrize(('name', 'kind', 'field'), LIMITED, ids=[name for name, *_ in LIMITED])
def test_a_value_out_of_range_is_refused_with_key_value_and_range(name, kind, field):
    known = field.metadata[METADATA]
    for value in outside(field):
        with pytest.raises(ConfigError) as caught:
            load_config(None, option(name, value))
        sentence = str(caught.value)
        assert sentence.startswith(f'{name} is {value}')
        assert '\n' not in sentence
        limits = [known.low, known.high] if known.above is None else [known.above, known.high]
        for limit in limits:
            assert f'{limit:g}' in sentence or str(limit) in sentence


@pytest.mark.parametrize(('name', 'kind', 'field'), LIMITED, ids=[name for name, *_ in LIMITED])
def test_both_ends_of_a_range_are_allowed(name, kind, field):
    known = field.metadata[METADATA]
    for limit in (known.low, known.high):
        if limit is None:
            continue
        value = tuple([limit] * 3) if isinstance(field.default, tuple) else limit
        others = {'max_scale': 8} if field.name == 'min_scale' else {}
        others |= {'min_scale': 0.1} if field.name == 'max_scale' else {}
        assert getattr(kind(**{field.name: value}, **others), field.name) == value


# Whatever is typed is text.
TYPED = [name for name, kind, field in KEYS if 'str' not in str(field.type)]


@pytest.mark.parametrize('name', [*TYPED, 'flow.taps'])
def test_a_value_of_the_wrong_type_is_refused_by_name(name):
    words = option(name, 'many words')
    with pytest.raises(ConfigError) as caught:
        load_config(None, words)
    assert name in str(caught.value)
    assert '\n' not in str(caught.value)
    assert 'must be' in str(caught.value)


@pytest.mark.parametrize('name', [name for name, *_ in KEYS if '.' in name])
def test_a_misspelt_key_gets_a_suggestion(name):
    section, _, key = name.rpartition('.')
    if section == 'backbone.phases':
        section, key = 'backbone', 'phases'
    with pytest.raises(ConfigError, match=f'did you mean {key!r}'):
        load_config(None, [f'--{section}.{key}s', '1'])


def test_the_command_line_overrides_the_file(tmp_path):
    path = written(tmp_path, 'backbone: {epochs: 3, learning_rate: 0.01}')
    config = load_config(path, ['--backbone.epochs=5'])
    assert (config.backbone.epochs, config.backbone.learning_rate) == (5, 0.01)


def test_phases_are_a_list_of_sections(tmp_path):
    text = 'backbone: {phases: [{share: 0.25, batch_size: 4}, {share: 0.75, crop_width: 320}]}'
    first, second = load_config(written(tmp_path, text)).backbone.phases
    assert first == PhaseConfig(share=0.25, batch_size=4)
    assert second == PhaseConfig(share=0.75, crop_width=320)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('backbone: {epoch: 3}', ['backbone.epoch', "'epochs'"]),
        ('bakbone: {}', ['bakbone', "'backbone'"]),
        ('backbone: {phases: [{shar: 1}]}', ['backbone.phases.shar', "'share'"]),
        ('backbone: 3', ['backbone is 3', 'mapping']),
        ('backbone: {epochs: 0}', ['backbone.epochs', '0', 'between 1 and 100000']),
        ('backbone: {epochs: many}', ['backbone.epochs', "'many'", 'whole number between 1']),
        ('backbone: {architecture: vgg}', ['backbone.architecture', "'vgg'", 'espnet']),
        ('backbone: {architecture: segent}', ['backbone.architecture', "did you mean 'segnet'?"]),
        ('data: {dataset: cityscape}', ['data.dataset', "did you mean 'cityscapes'?"]),
        ('backbone: {learning_rate: .nan}', ['backbone.learning_rate', 'nan', 'between']),
        ('backbone: {phases: [{batch_size: x}]}', ['backbone.phases.batch_size', "'x'", '1024']),
        ('input: {width: 250}', ['input.width', '250', 'multiple of 8']),
        ('input: {std: [1, 0, 1]}', ['input.std', 'above 0']),
        ('input: {std: [1, 1]}', ['input.std', '3 numbers']),
        ('backbone: {phases: [{share: 0.5}]}', ['backbone.phases', '[0.5]', 'add up to 1']),
        ('backbone: {time_limit_minutes: x}', ['null or a number above 0']),
        ('- 1', ['mapping']),
        ('a: [', ['not readable YAML']),
    ],
)
def test_a_wrong_file_gets_one_sentence(tmp_path, text, parts):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    sentence = str(caught.value)
    assert '\n' not in sentence
    for part in parts:
        assert part in sentence


@pytest.mark.parametrize(
    ('words', 'part'),
    [
        (['--backbone.epoch', '3'], "did you mean 'epochs'"),
        (['--backbone.epochs', '0'], 'between 1 and 100000'),
        (['--backbone.epochs'], '--backbone.epochs'),
        (['stray'], 'stray'),
    ],
)
def test_a_wrong_option_gets_one_sentence(words, part):
    with pytest.raises(ConfigError) as caught:
        load_config(None, words)
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'nowhere\.yaml does not exist'):
        load_config(tmp_path / 'nowhere.yaml')


def test_configurations_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        Config().name = 'other'
    with pytest.raises(ConfigError, match=r'backbone\.ema_decay is 1'):
        BackboneConfig(ema_decay=1.0)
