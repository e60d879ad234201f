from __future__ import annotations

from pathlib import Path

import pytest

from offline_training.learning.settings import ConfigError
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config, to_yaml
from offline_training.segmentation.config import BackboneConfig, PhaseConfig

SHIPPED = sorted((Path(__file__).parents[2] / 'config' / 'training').glob('*.yaml'))


def written(tmp_path, text):
    path = tmp_path / 'experiment.yaml'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load(path):
    assert load_config(path).name == path.stem


def test_synthetic_is_what_no_file_gives():
    assert load_config(SHIPPED[[p.stem for p in SHIPPED].index('synthetic')]) == load_config(None)


def test_printed_configuration_reads_back_equal(tmp_path):
    config = load_config(None, ['--backbone.epochs', '7', '--input.mean', '[1, 2, 3]'])
    assert config.backbone.epochs == 7
    assert load_config(written(tmp_path, to_yaml(config))) == config


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
        ('backbone: {epochs: many}', ['backbone.epochs', "'many'", 'int']),
        ('backbone: {architecture: vgg}', ['backbone.architecture', "'vgg'", 'espnet']),
        ('backbone: {learning_rate: .nan}', ['backbone.learning_rate', 'nan', 'between']),
        ('input: {width: 250}', ['input.width', '250', 'multiple of 8']),
        ('input: {std: [1, 0, 1]}', ['input.std', 'above 0']),
        ('backbone: {phases: [{share: 0.5}]}', ['backbone.phases', '[0.5]', 'add up to 1']),
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
