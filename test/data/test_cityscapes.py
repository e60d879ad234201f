"""Cityscapes on a miniature tree with the names of the original."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.miniature import (
    FAULTS,
    check_contract,
    check_fault,
    labels,
    one_sentence,
    write_image,
)

from offline_training.data.base import DataError
from offline_training.data.cityscapes import Cityscapes
from offline_training.data.config import DataConfig
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import open_dataset

FRAMES = ('lindau_000000_000019', 'lindau_000001_000019', 'munster_000000_000019')
# The label ids that the benchmark evaluates (labels.py of cityscapesScripts), in train id order.
EVALUATED = {
    'road': 7,
    'sidewalk': 8,
    'building': 11,
    'wall': 12,
    'fence': 13,
    'pole': 17,
    'traffic light': 19,
    'traffic sign': 20,
    'vegetation': 21,
    'terrain': 22,
    'sky': 23,
    'person': 24,
    'rider': 25,
    'car': 26,
    'truck': 27,
    'bus': 28,
    'train': 31,
    'motorcycle': 32,
    'bicycle': 33,
}


def paths(root: Path, frame: str, ending: str = 'labelIds') -> tuple[Path, Path]:
    city = frame.split('_')[0]
    return (
        root / 'leftImg8bit' / 'val' / city / f'{frame}_leftImg8bit.png',
        root / 'gtFine' / 'val' / city / f'{frame}_gtFine_{ending}.png',
    )


def tree(root: Path, ending: str = 'labelIds', values: tuple[int, ...] = (0, 7, 33)) -> Path:
    for frame in FRAMES:
        image, label = paths(root, frame, ending)
        write_image(image)
        labels(label, *values)
        for other in ('color', 'instanceIds'):  # the archive has these beside the labels
            write_image(label.with_name(f'{frame}_gtFine_{other}.png'))
        label.with_name(f'{frame}_gtFine_polygons.json').write_text('{}')
    return root


def test_reads_names_cities_and_labels(tmp_path: Path) -> None:
    dataset = Cityscapes(tree(tmp_path), 'val')
    check_contract(dataset, FRAMES, ('lindau', 'lindau', 'munster'))
    assert dataset[1].labels[5, :3].tolist() == [255, 0, 18]


def test_label_ids_become_train_ids(tmp_path: Path) -> None:
    dataset = Cityscapes(tree(tmp_path, values=tuple(range(34))), 'val')
    labels(paths(tmp_path, FRAMES[0])[1], *range(32))
    low = dataset[0].labels[0]
    labels(paths(tmp_path, FRAMES[0])[1], *range(2, 34))
    high = dataset[0].labels[0]
    read = np.concatenate([low[:2], high])
    expected = np.full(34, 255)
    for train_id, (name, label_id) in enumerate(EVALUATED.items()):
        assert dataset.class_names[train_id] == name
        expected[label_id] = train_id
    np.testing.assert_array_equal(read, expected)


def test_train_ids_are_read_where_there_are_no_label_ids(tmp_path: Path) -> None:
    tree(tmp_path, 'labelTrainIds', (0, 18, 255))
    assert Cityscapes(tmp_path, 'val')[0].labels[0, :3].tolist() == [0, 18, 255]
    tree(tmp_path)  # with both, the official file decides
    assert Cityscapes(tmp_path, 'val')[0].labels[0, :3].tolist() == [255, 0, 18]


@pytest.mark.parametrize('ending', ['labelIds', 'labelTrainIds'])
@pytest.mark.parametrize('fault', FAULTS)
def test_faults(tmp_path: Path, fault: str, ending: str) -> None:
    tree(tmp_path, ending, (7, 8))
    image, label = paths(tmp_path, FRAMES[0], ending)
    wrong = {'labelIds': 34, 'labelTrainIds': 19}[ending]
    check_fault(lambda: Cityscapes(tmp_path, 'val'), fault, image, label, wrong)


def test_missing_labels_name_the_file_to_add(tmp_path: Path) -> None:
    tree(tmp_path)
    label = paths(tmp_path, FRAMES[0])[1]
    label.unlink()
    with pytest.raises(DataError) as caught:
        Cityscapes(tmp_path, 'val')
    one_sentence(caught.value, f'add {label}')


def test_missing_folders_name_the_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Cityscapes(tmp_path / 'nowhere', 'val')
    one_sentence(caught.value, 'leftImg8bit_trainvaltest.zip', 'nowhere')
    tree(tmp_path)
    shutil.rmtree(tmp_path / 'gtFine')
    with pytest.raises(DataError) as caught:
        Cityscapes(tmp_path, 'val')
    one_sentence(caught.value, 'gtFine_trainvaltest.zip', str(tmp_path / 'gtFine' / 'val'))


@pytest.mark.parametrize('kind', ['leftImg8bit', 'gtFine'])
def test_a_missing_or_empty_city_is_not_passed_over(tmp_path: Path, kind: str) -> None:
    city = tree(tmp_path) / kind / 'val' / 'munster'
    for path in city.iterdir():
        path.unlink()
    with pytest.raises(DataError, match='holds no images') as caught:
        Cityscapes(tmp_path, 'val')
    one_sentence(caught.value, str(city))
    city.rmdir()
    with pytest.raises(DataError, match='is not a folder') as caught:
        Cityscapes(tmp_path, 'val')
    one_sentence(caught.value, str(city))


def test_empty_split(tmp_path: Path) -> None:
    for kind in ('leftImg8bit', 'gtFine'):
        (tmp_path / kind / 'train').mkdir(parents=True)
    with pytest.raises(DataError, match='no folders of cities') as caught:
        Cityscapes(tmp_path, 'train')
    one_sentence(caught.value, 'leftImg8bit')


def test_the_test_split_has_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='not public') as caught:
        Cityscapes(tree(tmp_path), 'test')
    one_sentence(caught.value, 'use val')
    with pytest.raises(DataError, match="'weekend' is not a split"):
        Cityscapes(tmp_path, 'weekend')  # type: ignore[arg-type]


def test_it_is_a_configured_data_set(tmp_path: Path) -> None:
    config = Config(data=DataConfig(dataset='cityscapes', data_dir=str(tree(tmp_path))))
    assert len(open_dataset(config, 'val')) == 3
