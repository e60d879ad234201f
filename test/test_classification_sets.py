"""CIFAR-10, CIFAR-100 and SVHN on miniature files of the original format."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from miniature import one_sentence
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CIFAR100, SVHN

from offline_training.data.base import DataError
from offline_training.data.classification import TorchvisionSet

BATCH = 4  # pictures per file of CIFAR-10


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def dump(path: Path, content: dict) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar(
    root: Path, kind: type, key: str, sizes: dict[str, int], patch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    """Write the files of a CIFAR set and let torchvision expect their checksums."""
    folder = root / kind.base_folder
    written, sums = {}, {}
    for seed, (name, count) in enumerate(sizes.items()):
        images = pixels(count, seed)
        rows = images.transpose(0, 3, 1, 2).reshape(count, -1)  # red, green, blue planes
        sums[name] = dump(folder / name, {'data': rows, key: [i % 10 for i in range(count)]})
        written[name] = images
    for attribute in ('train_list', 'test_list'):
        names = [name for name, _ in getattr(kind, attribute)]
        patch.setattr(kind, attribute, [[name, sums[name]] for name in names])
    classes = [f'class {number}' for number in range(100 if kind is CIFAR100 else 10)]
    meta = dump(folder / kind.meta['filename'], {kind.meta['key']: classes})
    patch.setattr(kind, 'meta', {**kind.meta, 'md5': meta})
    return written


def cifar10(root: Path, patch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    sizes = {f'data_batch_{number}': BATCH for number in range(1, 6)} | {'test_batch': 3}
    return cifar(root, CIFAR10, 'labels', sizes, patch)


def svhn(root: Path, patch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    written, split_list = {}, dict(SVHN.split_list)
    for seed, (split, count) in enumerate((('train', 10), ('test', 4))):
        url, name, _ = SVHN.split_list[split]
        images = pixels(count, seed)
        digits = np.arange(1, count + 1).reshape(-1, 1)  # 10 stands for the digit 0
        savemat(root / name, {'X': images.transpose(1, 2, 3, 0), 'y': digits.astype(np.uint8)})
        split_list[split] = [url, name, hashlib.md5((root / name).read_bytes()).hexdigest()]
        written[split] = images
    patch.setattr(SVHN, 'split_list', split_list)
    return written


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
    assert [sample.label for sample in test] == [0, 1, 2]
    assert type(test[1].label) is int
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


def test_unknown_names_and_too_few_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="'mnist' is not a data set: use cifar10"):
        TorchvisionSet('mnist', tmp_path, 'train')
    with pytest.raises(DataError, match='not a split of svhn'):
        TorchvisionSet('svhn', tmp_path, 'extra')  # type: ignore[arg-type]
    cifar(tmp_path, CIFAR100, 'fine_labels', {'train': 2, 'test': 2}, monkeypatch)
    with pytest.raises(DataError, match='too few to cut off a val split'):
        TorchvisionSet('cifar100', tmp_path, 'val')
