"""CIFAR-10, CIFAR-100 and SVHN on miniature files of the original format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.classification_files import cifar, cifar10, svhn
from support.miniature import one_sentence
from torchvision.datasets import CIFAR100

from offline_training.data.base import DataError
from offline_training.data.classification import TorchvisionSet


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = cifar10(tmp_path, monkeypatch)
    train, val, test = (TorchvisionSet('cifar10', tmp_path, s) for s in ('train', 'val', 'test'))
    assert [len(dataset) for dataset in (train, val, test)] == [16, 4, 3]
    np.testing.assert_array_equal(train[5].image, written['data_batch_2'][1])
    np.testing.assert_array_equal(val[3].image, written['data_batch_5'][3])
    np.testing.assert_array_equal(val[-1].image, val[3].image)
    np.testing.assert_array_equal(test[0].image, written['test_batch'][0])
    assert train[5].image.dtype == np.uint8
    assert val.labels == (0, 1, 2, 3)
    assert [sample.labels.tolist() for sample in test] == [0, 1, 2]
    assert (test[1].labels.shape, test[1].labels.dtype) == ((), np.uint8)
    assert (train[0].name, val[0].name, test[0].name) == (
        'cifar10_train_00000',
        'cifar10_train_00016',
        'cifar10_test_00000',
    )
    assert train.class_names == tuple(f'class {number}' for number in range(10))


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {'train': 10, 'test': 2}
    written = cifar(tmp_path, CIFAR100, 'fine_labels', sizes, monkeypatch)
    dataset = TorchvisionSet('cifar100', tmp_path, 'val')
    assert dataset.labels == (8, 9)
    assert len(dataset.class_names) == 100
    np.testing.assert_array_equal(dataset[1].image, written['train'][9])


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = svhn(tmp_path, monkeypatch)
    dataset = TorchvisionSet('svhn', tmp_path, 'val')
    assert dataset.labels == (9, 0)
    assert dataset.class_names == tuple('0123456789')
    np.testing.assert_array_equal(dataset[1].image, written['train'][9])
    np.testing.assert_array_equal(
        TorchvisionSet('svhn', tmp_path, 'test')[3].image, written['test'][3]
    )


@pytest.mark.parametrize('file', ['data_batch_3', 'test_batch', 'batches.meta'])
def test_a_missing_or_damaged_cifar_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    cifar10(tmp_path, monkeypatch)
    path = tmp_path / 'cifar-10-batches-py' / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match='damaged') as caught:
        TorchvisionSet('cifar10', tmp_path, 'train')
    one_sentence(caught.value, str(path), 'cifar-10-python.tar.gz')
    path.unlink()
    with pytest.raises(DataError, match='missing') as caught:
        TorchvisionSet('cifar10', tmp_path, 'train')
    one_sentence(caught.value, str(path), 'cifar-10-python.tar.gz', str(tmp_path))


def test_missing_files_and_nothing_downloaded(tmp_path: Path) -> None:
    for name, file in (
        ('cifar10', 'cifar-10-batches-py/data_batch_1'),
        ('cifar100', 'cifar-100-python/train'),
        ('svhn', 'train_32x32.mat'),
    ):
        with pytest.raises(DataError, match='missing') as caught:
            TorchvisionSet(name, tmp_path, 'train')
        one_sentence(caught.value, str(tmp_path / file))
    assert not list(tmp_path.iterdir())


def test_unknown_names_and_too_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'mnist' is not a data set: use cifar10"):
        TorchvisionSet('mnist', tmp_path, 'train')
    with pytest.raises(DataError, match='not a split of svhn'):
        TorchvisionSet('svhn', tmp_path, 'extra')  # type: ignore[arg-type]
    cifar(tmp_path, CIFAR100, 'fine_labels', {'train': 2, 'test': 2}, monkeypatch)
    with pytest.raises(DataError, match='too few to cut off a val split'):
        TorchvisionSet('cifar100', tmp_path, 'val')
