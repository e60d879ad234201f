"""Images with one label each: CIFAR-10, CIFAR-100 and SVHN, read by torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100, SVHN
from torchvision.datasets.utils import check_integrity

from offline_training.data.base import (
    DataError,
    SegmentationSample,
    Split,
    cut_in_order,
    require_split,
)

_SHARES = {'train': (0.0, 0.8), 'val': (0.8, 1.0), 'test': (0.0, 1.0)}


class TorchvisionSet:
    """One split of a set that torchvision knows; its files lie in `root` as torchvision has them.

    val is the last fifth of the official training images (of CIFAR-10: data_batch_5), train the
    others, test the official one. Images are 32x32. Nothing is downloaded; torchvision checks
    the checksum of every file before it reads it.

    Raises:
        DataError: The set or split is unknown, or a file is missing or damaged.
    """

    def __init__(self, name: str, root: Path, split: Split) -> None:
        if name not in OPENERS:
            raise DataError(f'{name!r} is not a data set: use {", ".join(OPENERS)}.')
        require_split(split, tuple(_SHARES), name)
        root = Path(root)
        self._images, labels, self.class_names = OPENERS[name](root, split == 'test')
        self._positions = cut_in_order(list(range(len(labels))), _SHARES[split], root, split)
        self.labels = tuple(int(labels[position]) for position in self._positions)
        self._part = f'{name}_{"test" if split == "test" else "train"}'

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Return image `index` in the order of the files; its labels are its class, shape ()."""
        position = self._positions[index]
        image = np.ascontiguousarray(self._images[position], np.uint8)
        label = np.array(self.labels[index], np.uint8)
        return SegmentationSample(image, label, f'{self._part}_{position:05d}')


_Parts = tuple[Any, Sequence[int], tuple[str, ...]]


def _open_cifar(kind: type[CIFAR10], root: Path, test: bool) -> _Parts:
    folder = root / kind.base_folder
    entries = [*kind.train_list, *kind.test_list, [kind.meta['filename'], kind.meta['md5']]]
    for name, md5 in entries:
        _check(folder / name, md5, f'unpack {kind.filename} into {root}')
    opened = kind(str(root), train=not test, download=False)
    return opened.data, opened.targets, tuple(opened.classes)


def _open_svhn(root: Path, test: bool) -> _Parts:
    split = 'test' if test else 'train'
    url, name, md5 = SVHN.split_list[split]
    _check(root / name, md5, f'put {url} there')
    opened = SVHN(str(root), split=split, download=False)
    images = opened.data.transpose(0, 2, 3, 1)
    return images, opened.labels, tuple(str(digit) for digit in range(10))


OPENERS: dict[str, Callable[[Path, bool], _Parts]] = {
    'cifar10': partial(_open_cifar, CIFAR10),
    'cifar100': partial(_open_cifar, CIFAR100),
    'svhn': _open_svhn,
}
"""What reads images, labels and class names of the official training or test part."""


def _check(path: Path, md5: str | None, remedy: str) -> None:
    if not path.is_file():
        raise DataError(f'{path} is missing: {remedy}.')
    if not check_integrity(path, md5):
        raise DataError(f'{path} is damaged (its MD5 is not {md5}): {remedy} again.')
