"""Miniature images for the tests of the data sets, and the ways in which files go wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from offline_training.data.base import DataError

SIZE = (24, 32)
RGB = (10, 20, 30)
FAULTS = ('no labels', 'no image', 'value', 'size', '16 bit', 'broken image', 'broken labels')


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_image(path: Path) -> Path:
    """Write an image of one colour, RGB."""
    return write(path, np.full((*SIZE, 3), RGB[::-1], np.uint8))


def labels(path: Path, *values: int, size: tuple[int, int] = SIZE) -> Path:
    """Write labels whose column c holds values[c % len(values)]."""
    row = np.resize(np.array(values, np.uint8), size[1])
    return write(path, np.tile(row, (size[0], 1)))


def check_contract(dataset: Any, names: tuple[str, ...], sequences: tuple[str, ...]) -> None:
    """Check what every labelled set promises, on a tree made of the images above."""
    assert dataset.names == names
    assert dataset.sequences == sequences
    assert len(dataset) == len(names)
    assert len(dataset.class_names) == len(set(dataset.class_names)) == len(dataset.palette)
    assert len(set(dataset.palette)) == len(dataset.palette)
    unknown = set(getattr(dataset, 'anomaly_labels', ()))
    for sample, name, sequence in zip(list(dataset), names, sequences, strict=True):
        assert (sample.name, sample.sequence) == (name, sequence)
        assert (sample.image.shape, sample.image.dtype) == ((*SIZE, 3), np.uint8)
        assert sample.image[0, 0].tolist() == list(RGB)
        assert (sample.labels.shape, sample.labels.dtype) == (SIZE, np.uint8)
        assert set(np.unique(sample.labels)) <= {*range(len(dataset.class_names)), 255, *unknown}


def check_fault(
    opener: Callable[[], Any],
    fault: str,
    image: Path,
    label: Path,
    wrong_value: int,
    listed: bool = False,
) -> None:
    """Damage the files of sample 0 and check the one sentence that names the file.

    Of a data set that is `listed` in a file the sentence names what is missing, of a folder the
    partner that is there.
    """
    assert opener()[0].labels.shape == SIZE, 'not usable before the damage'
    named, advice = label, ''
    if fault == 'no labels':
        label.unlink()
        named = label if listed else image
    elif fault == 'no image':
        image.unlink()
        named = image if listed else label
    elif fault == 'value':
        labels(label, wrong_value)
        advice = f'value {wrong_value}, known are'
    elif fault == 'size':
        labels(label, *np.unique(cv2.imread(str(label), cv2.IMREAD_UNCHANGED)), size=(10, 20))
        advice = '20x10 but its image is 32x24'
    elif fault == '16 bit':
        write(label, np.zeros(SIZE, np.uint16))
        advice = '8-bit'
    else:
        named = image if fault == 'broken image' else label
        named.write_bytes(named.read_bytes()[:20])
        advice = 'replace'
    with pytest.raises(DataError) as caught:
        opener()[0]
    one_sentence(caught.value, advice, str(named))


def one_sentence(error: Exception, *parts: str) -> None:
    text = str(error)
    assert '\n' not in text
    assert text.endswith('.')
    for part in parts:
        assert part in text
