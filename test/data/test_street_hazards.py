"""StreetHazards on a miniature tree with the names of the original."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.miniature import (
    FAULTS,
    RGB,
    SIZE,
    check_contract,
    check_fault,
    labels,
    one_sentence,
    write_image,
)

from offline_training.data.base import DataError, anomaly_mask
from offline_training.data.config import DataConfig
from offline_training.data.street_hazards import StreetHazards
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import open_dataset

# Per split: archive, list, and the folder of towns below images/ and annotations/.
SPLITS = {
    'train': ('train', 'train.odgt', 'training'),
    'val': ('train', 'validation.odgt', 'validation'),
    'test': ('test', 'test.odgt', 'test'),
}
TOWNS = {'train': ('t1', '10'), 'val': ('t4', '2'), 'test': ('t5', '300')}


def paths(base: Path, split: str, town: str, number: str) -> tuple[Path, Path]:
    part = SPLITS[split][2]
    return (
        base / 'images' / part / town / f'{number}.png',
        base / 'annotations' / part / town / f'{number}.png',
    )


def add(base: Path, split: str, towns: list[tuple[str, str]], *values: int) -> None:
    """Write images, labels and the list of one split, as one JSON list on one line."""
    entries = []
    for town, number in towns:
        image, label = paths(base, split, town, number)
        write_image(image)
        labels(label, *values)
        entries.append(
            {
                'dbName': 'StreetHazards',
                'width': 1280,
                'height': 720,
                'fpath_img': image.relative_to(base).as_posix(),
                'fpath_segm': label.relative_to(base).as_posix(),
            }
        )
    (base / SPLITS[split][1]).write_text(json.dumps(entries))


def tree(root: Path, split: str = 'test', *values: int) -> Path:
    add(
        root / SPLITS[split][0],
        split,
        [TOWNS[split], (TOWNS[split][0], '7'), ('t6', '7')],
        *(values or (1, 8, 13)),
    )
    return root


@pytest.mark.parametrize('split', SPLITS)
def test_reads_names_towns_and_labels(tmp_path: Path, split: str) -> None:
    dataset = StreetHazards(tree(tmp_path, split), split)
    town, number = TOWNS[split]
    check_contract(dataset, (f'{town}_{number}', f'{town}_7', 't6_7'), (town, town, 't6'))
    assert dataset[0].labels[0, :3].tolist() == [0, 7, 12]
    assert [dataset.class_names[label] for label in (0, 7, 12)] == [
        'unlabeled',
        'road',
        'traffic sign',
    ]
    assert len(dataset.class_names) == 13


def test_the_anomaly_is_label_13_of_the_test_split(tmp_path: Path) -> None:
    dataset = StreetHazards(tree(tmp_path, 'test', 14, 1), 'test')
    assert dataset.anomaly_labels == (13,)
    assert dataset[0].labels[0, :2].tolist() == [13, 0]
    assert anomaly_mask(dataset[0].labels, dataset.anomaly_labels)[0, :2].tolist() == [1, 0]
    for split in ('train', 'val'):
        with pytest.raises(DataError, match='value 14, known are 1-13'):
            StreetHazards(tree(tmp_path, split, 14, 1), split)[0]


@pytest.mark.parametrize('place', ['{archive}', '', 'streethazards_{archive}/{archive}'])
def test_finds_the_lists_where_the_archives_put_them(tmp_path: Path, place: str) -> None:
    for split, (archive, _, _) in SPLITS.items():
        base = tmp_path / place.format(archive=archive)
        base.mkdir(parents=True, exist_ok=True)
        add(base, split, [TOWNS[split]], 1)
        assert StreetHazards(tmp_path, split).sequences == TOWNS[split][:1]


def test_one_object_per_line_is_read_too(tmp_path: Path) -> None:
    file = tree(tmp_path) / 'test' / 'test.odgt'
    names = StreetHazards(tmp_path, 'test').names
    file.write_text('\n'.join(map(json.dumps, json.loads(file.read_text()))) + '\n')
    assert StreetHazards(tmp_path, 'test').names == names


def test_images_with_an_alpha_channel(tmp_path: Path) -> None:
    tree(tmp_path)
    image, _ = paths(tmp_path / 'test', 'test', *TOWNS['test'])
    assert cv2.imwrite(str(image), np.full((*SIZE, 4), (*RGB[::-1], 255), np.uint8))
    assert StreetHazards(tmp_path, 'test')[0].image[0, 0].tolist() == list(RGB)


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('fault', FAULTS)
def test_faults(tmp_path: Path, fault: str, split: str) -> None:
    tree(tmp_path, split)
    image, label = paths(tmp_path / SPLITS[split][0], split, *TOWNS[split])
    # 0: somebody has already subtracted the 1
    check_fault(lambda: StreetHazards(tmp_path, split), fault, image, label, 0, listed=True)


@pytest.mark.parametrize(
    ('text', 'part'),
    [
        (None, 'streethazards_test.tar'),
        ('', 'lists no images'),
        ('[]', 'lists no images'),
        ('[{"fpath_img": "a.png"', 'cannot be read'),
        ('[{"fpath_img": "a.png"}]', 'entry 0'),
        ('[{"fpath_img": 3, "fpath_segm": "a.png"}]', 'entry 0'),
        ('7', 'entry 0'),
        ('\xff', 'cannot be read'),
    ],
)
def test_lists_that_are_none(tmp_path: Path, text: str | None, part: str) -> None:
    file = tree(tmp_path) / 'test' / 'test.odgt'
    file.unlink() if text is None else file.write_bytes(text.encode('latin-1'))
    with pytest.raises(DataError) as caught:
        StreetHazards(tmp_path, 'test')
    one_sentence(caught.value, str(file), part)


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='use train, val or test'):
        StreetHazards(tree(tmp_path), 'validation')  # type: ignore[arg-type]


def test_it_is_a_configured_data_set(tmp_path: Path) -> None:
    config = Config(data=DataConfig(dataset='street_hazards', data_dir=str(tree(tmp_path))))
    assert len(open_dataset(config, 'test')) == 3
