"""The YAML file of a comparison: every mistake is named before any work."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from offline_training.compare.config import CompareConfig, load_compare_config
from offline_training.detectors import DETECTORS
from offline_training.learning.read_settings import check_keywords
from offline_training.learning.settings import METADATA, ConfigError

SET = {'dataset': 'camvid', 'data_dir': 'camvid'}
LEAST = {
    'name': 'a',
    'experiment': 'e.yaml',
    'weights': None,
    'train': SET,
    'val': SET,
    'normal': SET,
    'detectors': {'msp': None},
}


def load(tmp_path, values):
    path = tmp_path / 'compare.yaml'
    path.write_text(yaml.safe_dump(values))
    return load_compare_config(path)


def test_the_least_file_is_completed_by_defaults(tmp_path):
    config = load(tmp_path, LEAST)
    assert config.detectors['msp'].detector == 'msp'
    assert config.normal.split == 'test'
    assert config.perturbations.names == ()


@pytest.mark.parametrize('key', LEAST)
def test_what_has_no_default_must_be_given(tmp_path, key):
    with pytest.raises(ConfigError, match=f'lacks {key}'):
        load(tmp_path, {name: value for name, value in LEAST.items() if name != key})


@pytest.mark.parametrize(
    ('changes', 'parts'),
    [
        ({'detectors': {'msp': {'temperatur': 1}}}, ['detectors.msp.temperatur', "'temperature'"]),
        ({'detectors': {'entropy': {'seed': 1}}}, ['detectors.entropy.seed', 'nothing to set']),
        ({'detectors': {'light_observer': {'epoch': 3}}}, ['light_observer.epoch', "'epochs'"]),
        ({'detectors': {'mc_dropout': {'passes': 'x'}}}, ["mc_dropout.passes is 'x'", 'int']),
        ({'detectors': {'a': {'detector': 'enrgy'}}}, ['detectors.a.detector', "'energy'"]),
        (
            {'images': {'x': {'dataset': 'camvit', 'data_dir': 'c'}}},
            ['images.x.dataset', "'camvid'"],
        ),
        ({'images': {'x': {'dataset': 'camvid'}}}, ['images.x lacks data_dir']),
        ({'images': {'x': 3}}, ['images.x is 3', 'mapping of dataset, data_dir, split']),
        ({'train': {**SET, 'split': 'tset'}}, ['train.split', "'test'"]),
        ({'train': {**SET, 'dataset': 'anomaly_folder'}}, ['train.dataset', 'anomaly_folder']),
        ({'perturbations': {'names': ['fog', 'rian']}}, ['perturbations.names', "'rain'"]),
        ({'perturbations': {'severity': 2}}, ['perturbations.severity is 2', 'at most 1']),
        ({'attacks': {'x': {'kind': 'fgsm', 'every': 0}}}, ['attacks.x.every is 0', 'at least 1']),
        ({'map_stride': True}, ['map_stride is ', 'whole number']),
        ({'seed': None}, ['seed is None', 'whole number']),
        ({'detectrs': {}}, ["did you mean 'detectors'"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(tmp_path, changes, parts):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {**LEAST, **changes})
    sentence = str(caught.value)
    assert '\n' not in sentence
    assert str(tmp_path) in sentence
    for part in parts:
        assert part in sentence


def test_every_key_says_what_it_means():
    assert all(field.metadata[METADATA].help for field in dataclasses.fields(CompareConfig))


@pytest.mark.parametrize('name', DETECTORS)
def test_the_settings_of_every_detector_are_known(name):
    """What a detector says it was built with may be written in the file, and nothing else."""
    settings = DETECTORS[name]().settings
    check_keywords(DETECTORS[name], settings, name)
    with pytest.raises(ConfigError, match=f'{name}.no_such_key'):
        check_keywords(DETECTORS[name], {**settings, 'no_such_key': 1}, name)
