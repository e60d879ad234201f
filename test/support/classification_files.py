"""Miniature CIFAR and SVHN files of the original formats."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CIFAR100, SVHN

BATCH = 4  # images per file of CIFAR-10


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
