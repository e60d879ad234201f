"""Residual Flow's protocol end to end, on miniature files of CIFAR-10 and SVHN."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import classification_files as sets
from torch import nn
from torchvision.datasets import CIFAR10

from offline_training import residual_flow_protocol as protocol
from offline_training.segmentation.backbones.classifiers import Classifier
from offline_training.segmentation.classifier_training import augmented

COLOURS = np.random.default_rng(3).integers(0, 200, (10, 3))


class Tiny(Classifier):
    """Learns colours in seconds."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, 2), nn.BatchNorm2d(12), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, num_classes)

    def features(self, x):
        first = self.first(x)
        second = self.second(first)
        return self.head(second.mean(dim=(2, 3))), {'first': first, 'second': second}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 with a colour per class; SVHN of noise."""

    def coloured(count: int, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).integers(0, 40, (count, 32, 32, 3))
        return (COLOURS[np.arange(count) % 10][:, None, None] + noise).astype(np.uint8)

    noise = sets.pixels
    monkeypatch.setattr(sets, 'BATCH', 20)
    monkeypatch.setattr(sets, 'pixels', coloured)
    sizes = {f'data_batch_{number}': 20 for number in range(1, 6)} | {'test_batch': 20}
    sets.cifar(tmp_path, CIFAR10, 'labels', sizes, monkeypatch)
    monkeypatch.setattr(sets, 'pixels', noise)
    sets.svhn(tmp_path, monkeypatch)
    monkeypatch.setitem(protocol.CLASSIFIERS, 'resnet34', Tiny)
    return tmp_path


def run(data: Path, *words: str) -> int:
    return protocol.main(
        [
            '--inside',
            'cifar10',
            '--outside',
            'svhn',
            '--data-dir',
            str(data),
            '--output',
            str(data / 'out'),
            '--epochs',
            '30',
            '--batch-size',
            '20',
            '--device',
            'cpu',
            '--magnitudes',
            '0',
            '0.1',
            *words,
        ]
    )


@pytest.mark.slow
def test_noise_is_told_from_colours_and_nothing_is_done_twice(data, capsys, monkeypatch):
    assert run(data) == 0
    table = json.loads((data / 'out' / 'table.json').read_text())
    assert table['accuracy'] > 0.8
    assert set(table['results']['svhn']) == {'msp', 'mahalanobis', 'residual_flow'}
    for name in ('mahalanobis', 'residual_flow'):
        assert table['results']['svhn'][name]['auroc'] > 0.9
    shown = capsys.readouterr().out
    assert 'svhn, residual_flow' in shown
    assert max(map(len, shown.splitlines())) <= 80
    monkeypatch.setattr(protocol, 'train_classifier', None)
    monkeypatch.setattr(protocol.ResidualFlow, 'fit', None)
    assert run(data) == 0
    assert json.loads((data / 'out' / 'table.json').read_text()) == table
    capsys.readouterr()
    with pytest.raises(TypeError):  # it would be trained anew
        run(data, '--seed', '2')


def test_other_magnitudes_fit_what_has_them_anew(data, capsys):
    assert run(data, '--epochs', '1') == 0
    capsys.readouterr()
    assert run(data, '--epochs', '1', '--magnitudes', '0') == 0
    shown = ' '.join(capsys.readouterr().err.split())
    assert 'training the classifier' not in shown
    assert 'fitting msp' not in shown
    assert 'fitting residual_flow: what is stored does not fit: magnitudes was [0.0, 0.1]' in shown


def test_missing_files_are_named(tmp_path, capsys):
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert 'is missing' in error
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'words',
    [
        ('--outside', 'cifar10'),
        ('--outside', 'lsun'),
        ('--epochs', '0'),
    ],
)
def test_impossible_options_are_refused(tmp_path, words):
    with pytest.raises(SystemExit):
        run(tmp_path, *words)


def test_images_are_shifted_and_mirrored_only():
    rng = np.random.default_rng(0)
    for flip in (False, True):
        for _ in range(4):
            image = rng.permutation(np.arange(1, 193, dtype=np.uint8)).reshape(8, 8, 3)
            moved = augmented(image, flip, rng)
            assert moved.shape == image.shape
            seen = set(moved.ravel().tolist()) - {0}
            assert seen
            # Pixels keep their colours.
            pixels = {tuple(pixel) for pixel in image.reshape(-1, 3).tolist()}
            assert {tuple(pixel) for pixel in moved.reshape(-1, 3).tolist()} <= pixels | {(0,) * 3}
