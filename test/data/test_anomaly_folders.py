"""Anomaly folders as SegmentMeIfYouCan and ObsNet publish them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.miniature import (
    FAULTS,
    check_contract,
    check_fault,
    labels,
    one_sentence,
    write,
    write_image,
)

from offline_training.data.base import (
    DataError,
    SegmentationSample,
    anomaly_mask,
    labels_at_size,
)
from offline_training.data.camvid import CamVid, CamVidOOD
from offline_training.data.config import DataConfig
from offline_training.data.folder import AnomalyFolder
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import open_dataset

FRAMES = ('0001TP_008550', 'Seq05VD_f00000')
LAYOUTS = {'ours': ('images', 'labels'), 'published': ('test_ood', 'testannot_ood')}


def benchmark(root: Path) -> Path:
    """Images of the hidden test set, and validation images with masks and coloured copies."""
    for name in ('animals01_Guzet', 'validation0000', 'validation0001'):
        write_image(root / 'images' / f'{name}.jpg')
    for name in ('validation0000', 'validation0001'):
        masks = root / 'labels_masks'
        labels(masks / f'{name}_labels_semantic.png', 0, 1, 255)
        write_image(masks / f'{name}_labels_semantic_color.png')
    return root


def test_the_benchmark_keeps_its_test_labels_back(tmp_path: Path) -> None:
    dataset = AnomalyFolder(benchmark(tmp_path))
    assert dataset.names == ('validation0000', 'validation0001')
    assert dataset[1].labels[3, :3].tolist() == [0, 1, 255]


def test_a_missing_mask_of_a_validation_image_is_named(tmp_path: Path) -> None:
    mask = benchmark(tmp_path) / 'labels_masks' / 'validation0001_labels_semantic.png'
    mask.unlink()
    with pytest.raises(DataError) as caught:
        AnomalyFolder(tmp_path)
    one_sentence(caught.value, 'validation0001.jpg', str(mask))


def test_a_mask_without_image_is_named(tmp_path: Path) -> None:
    (benchmark(tmp_path) / 'images' / 'validation0001.jpg').unlink()
    with pytest.raises(DataError) as caught:
        AnomalyFolder(tmp_path)
    one_sentence(caught.value, 'validation0001_labels_semantic.png', 'no image')


def test_two_marks_an_anomaly_as_in_road_anomaly(tmp_path: Path) -> None:
    mask = benchmark(tmp_path) / 'labels_masks' / 'validation0000_labels_semantic.png'
    labels(mask, 0, 2, 255)
    assert np.unique(AnomalyFolder(tmp_path)[0].labels).tolist() == [0, 1, 255]


def test_wrong_masks(tmp_path: Path) -> None:
    mask = benchmark(tmp_path) / 'labels_masks' / 'validation0000_labels_semantic.png'
    labels(mask, 0, 3)
    with pytest.raises(DataError, match='value 3, known are 0-2, 255'):
        AnomalyFolder(tmp_path)[0]
    write(mask, np.zeros((10, 20), np.uint8))
    with pytest.raises(DataError, match='20x10'):
        AnomalyFolder(tmp_path)[0]


def camvid_ood_tree(root: Path, layout: str = 'ours') -> Path:
    images, masks = LAYOUTS[layout]
    for name in FRAMES:
        write_image(root / images / f'{name}.png')
        labels(root / masks / f'{name}.png', 0, 10, 11, 12)
    return root


@pytest.mark.parametrize('layout', LAYOUTS)
def test_camvid_ood_keeps_the_classes(tmp_path: Path, layout: str) -> None:
    dataset = CamVidOOD(camvid_ood_tree(tmp_path, layout))
    check_contract(dataset, FRAMES, ('0001TP', 'Seq05VD'))
    assert dataset.class_names == CamVid.class_names
    assert dataset[0].labels[0, :4].tolist() == [0, 10, 255, 12]
    mask = anomaly_mask(dataset[0].labels, dataset.anomaly_labels)
    assert mask[0, :4].tolist() == [0, 0, 255, 1]
    if layout == 'ours':
        np.testing.assert_array_equal(mask, AnomalyFolder(tmp_path)[0].labels)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('fault', FAULTS)
def test_camvid_ood_faults(tmp_path: Path, fault: str, layout: str) -> None:
    image, label = (
        camvid_ood_tree(tmp_path, layout) / folder / f'{FRAMES[0]}.png'
        for folder in LAYOUTS[layout]
    )
    check_fault(lambda: CamVidOOD(tmp_path), fault, image, label, 13)


def test_camvid_ood_is_for_testing_only(tmp_path: Path) -> None:
    camvid_ood_tree(tmp_path / 'set')
    config = Config(data=DataConfig(dataset='camvid_ood', data_dir=str(tmp_path / 'set')))
    assert len(open_dataset(config, 'test')) == 2
    with pytest.raises(DataError, match='testing only'):
        open_dataset(config, 'train')
    with pytest.raises(DataError, match='neither images/ nor test_ood/'):
        CamVidOOD(tmp_path)


def test_anomaly_mask_against_a_loop() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, (7, 9), np.uint8)
    sample = SegmentationSample(np.zeros((7, 9, 3), np.uint8), values, 'a', 'drive')
    mask = anomaly_mask(sample.labels, (16, 17, 18))
    for got, label in zip(mask.ravel(), values.ravel(), strict=True):
        assert got == (255 if label == 255 else int(label in (16, 17, 18)))


def test_labels_are_shrunk_about_the_middle_of_each_pixel() -> None:
    wide = np.arange(9, dtype=np.uint8)[None].repeat(9, axis=0)
    assert labels_at_size(wide, (3, 3)).tolist() == [[1, 4, 7]] * 3
    np.testing.assert_array_equal(labels_at_size(labels_at_size(wide, (27, 27)), (9, 9)), wide)
