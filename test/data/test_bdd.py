"""BDD100K and BDD-Anomaly on miniature trees with the names of the originals."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from support.miniature import (
    FAULTS,
    SIZE,
    check_contract,
    check_fault,
    labels,
    one_sentence,
    write_image,
)

from offline_training.data.base import DataError, anomaly_mask
from offline_training.data.bdd import BDD100K
from offline_training.data.bdd_anomaly import BDDAnomaly, main, write_split
from offline_training.data.cityscapes import Cityscapes
from offline_training.data.config import DataConfig
from offline_training.evaluation import segmentation
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import open_dataset

NAMES = ('0004a4c0-d4dff0ad', '00054602-3bf57337')
# Folders of images and of labels and the ending of labels, per layout.
LAYOUTS = {
    '2021': ('images/10k', 'labels/sem_seg/masks', ''),
    '2018': ('seg/images', 'seg/labels', '_train_id'),
    'inside bdd100k': ('bdd100k/images/10k', 'bdd100k/labels/sem_seg/masks', ''),
}


def add(
    root: Path, split: str, name: str, *values: int, layout: str = '2021'
) -> tuple[Path, Path]:
    images, masks, ending = LAYOUTS[layout]
    return (
        write_image(root / images / split / f'{name}.jpg'),
        labels(root / masks / split / f'{name}{ending}.png', *values),
    )


def tree(root: Path, layout: str = '2021') -> Path:
    for name in NAMES:
        add(root, 'train', name, 0, 18, 255, layout=layout)
    return root


@pytest.mark.parametrize('layout', LAYOUTS)
def test_reads_every_layout(tmp_path: Path, layout: str) -> None:
    dataset = BDD100K(tree(tmp_path, layout), 'train')
    check_contract(dataset, NAMES, ('', ''))
    assert dataset[1].labels[5, :3].tolist() == [0, 18, 255]
    assert dataset.class_names == Cityscapes.class_names


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('fault', FAULTS)
def test_faults(tmp_path: Path, fault: str, layout: str) -> None:
    image, label = add(tree(tmp_path, layout), 'train', NAMES[0], 0, 1, layout=layout)
    check_fault(lambda: BDD100K(tmp_path, 'train'), fault, image, label, 19)


def test_splits(tmp_path: Path) -> None:
    tree(tmp_path)
    with pytest.raises(DataError) as caught:
        BDD100K(tmp_path, 'val')
    one_sentence(caught.value, str(tmp_path), 'images/10k/val', 'seg/images/val', 'unpack')
    (tmp_path / 'images' / '10k' / 'val').mkdir()
    with pytest.raises(DataError, match='no images') as caught:
        BDD100K(tmp_path, 'val')
    one_sentence(caught.value, str(tmp_path / 'images' / '10k' / 'val'))
    with pytest.raises(DataError, match='not public'):
        BDD100K(tmp_path, 'test')


def test_images_stay_as_stored_because_labels_do(tmp_path: Path) -> None:
    image, _ = add(tmp_path, 'train', NAMES[0], 0)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: turn by 90 degrees to show
    Image.new('RGB', SIZE[::-1], (10, 20, 30)).save(image, exif=turned)
    assert BDD100K(tmp_path, 'train')[0].image.shape == (*SIZE, 3)


def anomaly_tree(root: Path, layout: str = '2021') -> Path:
    add(root, 'train', 'plain-a', 0, 13, 255, layout=layout)
    add(root, 'train', 'with-train', 0, 16, layout=layout)
    add(root, 'val', 'plain-b', 2, 10, layout=layout)
    add(root, 'val', 'with-bicycle', 11, 18, layout=layout)
    add(root, 'val', 'with-motorcycle', 17, 12, 255, layout=layout)
    return root


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_anomaly_split_holds_every_image_with_an_unknown(tmp_path: Path, layout: str) -> None:
    counts = write_split(anomaly_tree(tmp_path, layout))
    assert counts == {'train': 1, 'validation': 1, 'anom': 3}
    splits = {name: BDDAnomaly(tmp_path, name) for name in ('train', 'val', 'test')}
    check_contract(splits['train'], ('plain-a',), ('',))
    check_contract(splits['val'], ('plain-b',), ('',))
    check_contract(splits['test'], ('with-train', 'with-bicycle', 'with-motorcycle'), ('',) * 3)
    assert splits['test'].class_names == Cityscapes.class_names[:16]
    sample = splits['test'][2]
    assert sample.labels[0, :3].tolist() == [17, 12, 255]
    mask = anomaly_mask(sample.labels, splits['test'].anomaly_labels)
    assert mask[0, :3].tolist() == [1, 0, 255]
    assert sample.name == 'with-motorcycle'


def test_the_lists_are_those_of_the_benchmark(tmp_path: Path) -> None:
    write_split(anomaly_tree(tmp_path))
    (entry,) = json.loads((tmp_path / 'train.odgt').read_text())
    assert entry['fpath_img'] == 'images/10k/train/plain-a.jpg'
    assert entry['fpath_segm'] == 'labels/sem_seg/masks/train/plain-a.png'
    (tmp_path / 'anom.odgt').rename(tmp_path / 'test.odgt')  # so its users call it
    assert len(BDDAnomaly(tmp_path, 'test')) == 3


def test_the_shifted_labels_of_the_benchmark(tmp_path: Path) -> None:
    image = write_image(tmp_path / 'seg' / 'images' / 'train' / 'a.jpg')
    label = labels(tmp_path / 'seg' / 'train_labels' / 'train' / 'a_train_id.png', 1, 2, 17, 20)
    entry = {
        'dbName': 'BDD100k',
        'width': 1280,
        'height': 720,
        'fpath_img': 'seg/images/train/a.jpg',
        'fpath_segm': 'seg/train_labels/train/a_train_id.png',
    }
    for name in ('train', 'anom'):
        (tmp_path / f'{name}.odgt').write_text(json.dumps([entry]))
    assert BDDAnomaly(tmp_path, 'test')[0].labels[0, :4].tolist() == [255, 0, 15, 18]
    check_fault(lambda: BDDAnomaly(tmp_path, 'test'), 'value', image, label, 0, True)


def test_training_never_sees_an_unknown(tmp_path: Path) -> None:
    write_split(anomaly_tree(tmp_path))
    labels(tmp_path / 'labels' / 'sem_seg' / 'masks' / 'train' / 'plain-a.png', 0, 17)
    with pytest.raises(DataError, match='value 17, known are 0-15, 255'):
        BDDAnomaly(tmp_path, 'train')[0]


@pytest.mark.parametrize('fault', FAULTS)
def test_anomaly_faults(tmp_path: Path, fault: str) -> None:
    write_split(anomaly_tree(tmp_path))
    image, label = add(tmp_path, 'train', 'with-train', 0, 16)
    check_fault(lambda: BDDAnomaly(tmp_path, 'test'), fault, image, label, 19, True)


def test_the_split_is_missing_or_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path)
    with pytest.raises(DataError) as caught:
        BDDAnomaly(tmp_path, 'val')
    one_sentence(caught.value, str(tmp_path / 'validation.odgt'), 'bdd_anomaly')
    assert main([str(tmp_path)]) == 2  # no val folder
    assert 'error: ' in capsys.readouterr().err
    add(tmp_path, 'val', 'v', 0)
    assert main([str(tmp_path)]) == 2  # every training image shows an unknown
    assert 'train.odgt' in capsys.readouterr().err
    assert not list(tmp_path.glob('*.odgt'))
    add(tmp_path, 'train', 'plain', 0)
    assert main([str(tmp_path)]) == 0
    assert 'anom.odgt: 2 images' in capsys.readouterr().out
    with pytest.raises(DataError, match='not a split'):
        BDDAnomaly(tmp_path, 'weekend')  # type: ignore[arg-type]


def test_they_are_configured_data_sets(tmp_path: Path) -> None:
    write_split(anomaly_tree(tmp_path))
    for name, split, count in (('bdd100k', 'val', 3), ('bdd_anomaly', 'test', 3)):
        config = Config(data=DataConfig(dataset=name, data_dir=str(tmp_path)))
        dataset = open_dataset(config, split)
        assert len(dataset) == count
        assert np.unique(dataset[0].labels).size


def test_unknown_objects_count_as_void_for_the_iou(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # labels 16 and up would be taken for void, for other classes or for a fault
    write_split(anomaly_tree(tmp_path))
    monkeypatch.setattr(segmentation, 'watched_network', lambda *_: Mock())
    monkeypatch.setattr(
        segmentation, 'predict_labels', lambda *_: np.full((192, 256), 12, np.uint8)
    )
    config = Config(data=DataConfig(dataset='bdd_anomaly', data_dir=str(tmp_path)))
    report = segmentation.evaluate_segmentation(config, tmp_path, 'test', 'void_ignored')
    # known pixels: road half of the first, person half of the second, rider third of the third
    rider = np.resize([17, 12, 255], SIZE[1]).tolist().count(12)
    assert report['pixel_accuracy'] == pytest.approx(100 * rider / (SIZE[1] + rider), abs=0.01)
    assert report['iou']['rider'] == pytest.approx(report['pixel_accuracy'], abs=0.01)
