"""The `--help` of every training command teaches, in 80 columns."""

from __future__ import annotations

import re
import shlex

import pytest

from offline_training import attack_autoencoder, cutouts, evaluate, residual_flow_protocol, train
from offline_training.compare import __main__ as compare

COMMANDS = {
    'train': train.main,
    'evaluate': evaluate.main,
    'evaluate segmentation': evaluate.main,
    'evaluate anomaly': evaluate.main,
    'evaluate events': evaluate.main,
    'evaluate drives': evaluate.main,
    'evaluate views': evaluate.main,
    'evaluate safety': evaluate.main,
    'attack_autoencoder': attack_autoencoder.main,
    'attack_autoencoder train': attack_autoencoder.main,
    'attack_autoencoder apply': attack_autoencoder.main,
    'attack_autoencoder report': attack_autoencoder.main,
    'compare': compare.main,
    'cutouts': cutouts.main,
    'residual_flow_protocol': residual_flow_protocol.main,
}


@pytest.fixture
def help_of(capsys, monkeypatch):
    def text(name):
        monkeypatch.setenv('COLUMNS', '80')
        with pytest.raises(SystemExit) as end:
            COMMANDS[name]([*name.split()[1:], '--help'])
        assert end.value.code == 0
        return capsys.readouterr().out

    return text


@pytest.mark.parametrize('name', COMMANDS)
def test_help_has_examples_within_80_columns_and_no_option_without_words(name, help_of):
    text = help_of(name)
    assert f'python -m offline_training.{name.split()[0]} ' in text.partition('\n')[2]
    assert max(map(len, text.splitlines())) <= 80
    # An option alone on its line has its words on the next one, further in.
    for option, next_line in re.findall(r'^  (--[\w-]+(?: \S+)?)\n(.*)$', text, re.MULTILINE):
        assert next_line.startswith(' ' * 8), option


@pytest.mark.parametrize('name', COMMANDS)
def test_options_in_examples_exist(name, help_of):
    text = help_of(name)
    lines = text.replace('\\\n', ' ').splitlines()
    examples = [
        shlex.split(line, comments=True)
        for line in lines
        if line.strip().startswith(f'python -m offline_training.{name.split()[0]} ')
        and '--' in line
        and '--help' not in line
    ]
    assert examples
    for words in examples:
        inner = [word for word in words[3:4] if not word.startswith('-')]
        own = help_of(' '.join([name.split()[0], *inner]))
        for word in words:
            if word.startswith('--'):
                assert re.search(rf'^  {re.escape(word)}\b', own, re.MULTILINE), word


def test_an_unknown_back_end_is_refused_with_those_that_exist(capsys):
    words = ['anomaly', '--bundle', 'b', '--data-dir', 'd', '--backend', 'tensorflow']
    with pytest.raises(SystemExit) as end:
        evaluate.main(words)
    assert end.value.code == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert 'tensorflow' in sentence
    assert 'onnxruntime' in sentence
