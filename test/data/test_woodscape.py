"""WoodScape and its soiling set on miniature trees with the names of the originals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.miniature import (
    FAULTS,
    check_contract,
    check_fault,
    labels,
    one_sentence,
    write_image,
)

from offline_training.data.base import DataError, anomaly_mask
from offline_training.data.config import DataConfig
from offline_training.data.woodscape import WoodScape, WoodScapeSoiling
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import open_dataset

CAMERAS = ('FV', 'MVL', 'MVR', 'RV')
NAMES = tuple(f'{number:05d}_{CAMERAS[number % 4]}' for number in range(20))
SOILED = tuple(f'{number:04d}_{CAMERAS[number % 4]}' for number in range(20))
SPLITS = {'train': slice(0, 14), 'val': slice(14, 17), 'test': slice(17, 20)}


def paths(root: Path, name: str, nested: bool = False) -> tuple[Path, Path]:
    images, annotations = root / 'rgb_images', root / 'semantic_annotations'
    if nested:
        images, annotations = images / images.name, annotations / annotations.name
    return images / f'{name}.png', annotations / 'gtLabels' / f'{name}.png'


def tree(root: Path, nested: bool = False, values: tuple[int, ...] = (0, 1, 9)) -> Path:
    for name in NAMES:
        image, label = paths(root, name, nested)
        write_image(image)
        labels(label, *values)
        write_image(label.parents[1] / 'rgbLabels' / f'{name}.png')
    (root / 'semantic_annotations' / 'seg_annotation_info.json').write_text('{}')
    return root


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize('split', SPLITS)
def test_reads_both_ways_to_unpack(tmp_path: Path, split: str, nested: bool) -> None:
    dataset = WoodScape(tree(tmp_path, nested), split)
    names = NAMES[SPLITS[split]]
    check_contract(dataset, names, ('',) * len(names))
    assert dataset[0].labels[0, :3].tolist() == [255, 0, 8]
    assert (dataset.class_names[0], dataset.class_names[8]) == ('road', 'traffic_sign')


def test_a_list_decides_over_the_cut(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / 'val.txt').write_text(f'{NAMES[9]}.png\n{NAMES[2]}.png\n')
    assert WoodScape(tmp_path, 'val').names == (NAMES[9], NAMES[2])
    assert WoodScape(tmp_path, 'test').names == NAMES[17:]
    for text, part in (('', 'lists no images'), ('00000_MVR.png', 'lists 00000_MVR.png')):
        (tmp_path / 'val.txt').write_text(text)
        with pytest.raises(DataError) as caught:
            WoodScape(tmp_path, 'val')
        one_sentence(caught.value, str(tmp_path / 'val.txt'), part)


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize('fault', FAULTS)
def test_faults(tmp_path: Path, fault: str, nested: bool) -> None:
    image, label = paths(tree(tmp_path, nested), NAMES[0], nested)
    check_fault(lambda: WoodScape(tmp_path, 'train'), fault, image, label, 10)


@pytest.mark.parametrize('archive', ['rgb_images', 'semantic_annotations'])
def test_missing_archive(tmp_path: Path, archive: str) -> None:
    shutil.rmtree(tree(tmp_path) / archive)
    with pytest.raises(DataError) as caught:
        WoodScape(tmp_path, 'train')
    one_sentence(caught.value, str(tmp_path / archive), f'{archive}.zip')


def test_empty_splits(tmp_path: Path) -> None:
    tree(tmp_path)
    for name in NAMES[1:]:
        for path in paths(tmp_path, name):
            path.unlink()
    with pytest.raises(DataError, match='too few to cut off a val split') as caught:
        WoodScape(tmp_path, 'val')
    one_sentence(caught.value, 'rgb_images')
    paths(tmp_path, NAMES[0])[0].unlink()
    with pytest.raises(DataError, match='no images'):
        WoodScape(tmp_path, 'train')
    with pytest.raises(DataError, match='not a split'):
        WoodScape(tmp_path, 'weekend')  # type: ignore[arg-type]


def soiling_paths(base: Path, part: str, name: str) -> tuple[Path, Path]:
    folder = base / part
    return folder / 'rgbImages' / f'{name}.png', folder / 'gtLabels' / f'{name}.png'


def soiling_tree(root: Path, inside: str = 'soiling_dataset') -> Path:
    for part, names in (('train', SOILED[:14]), ('test', SOILED[14:])):
        for name in names:
            image, label = soiling_paths(root / inside, part, name)
            write_image(image)
            labels(label, 0, 1, 2, 3)
            write_image(label.parents[1] / 'rgbLabels' / f'{name}.png')
    return root


@pytest.mark.parametrize('inside', ['soiling_dataset', 'soiling_dataset/soiling_dataset', '.'])
def test_soiling(tmp_path: Path, inside: str) -> None:
    soiling_tree(tmp_path, inside)
    for split, names in (('train', SOILED[:12]), ('val', SOILED[12:14]), ('test', SOILED[14:])):
        dataset = WoodScapeSoiling(tmp_path, split)
        check_contract(dataset, names, ('',) * len(names))
    assert dataset.class_names == ('clean', 'transparent', 'semi_transparent', 'opaque')
    mask = anomaly_mask(dataset[0].labels, dataset.anomaly_labels)
    assert mask[0, :4].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize('fault', FAULTS)
def test_soiling_faults(tmp_path: Path, fault: str) -> None:
    image, label = soiling_paths(soiling_tree(tmp_path) / 'soiling_dataset', 'test', SOILED[14])
    check_fault(lambda: WoodScapeSoiling(tmp_path, 'test'), fault, image, label, 4)


def test_soiling_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        WoodScapeSoiling(tmp_path, 'train')
    one_sentence(caught.value, str(tmp_path / 'train'), 'soiling_dataset.zip')
    write_image(soiling_paths(tmp_path, 'train', SOILED[0])[0])
    labels(soiling_paths(tmp_path, 'train', SOILED[0])[1], 0)
    with pytest.raises(DataError, match='too few to cut off a val split'):
        WoodScapeSoiling(tmp_path, 'val')


def test_they_are_configured_data_sets(tmp_path: Path) -> None:
    soiling_tree(tree(tmp_path))
    for name, count in (('woodscape', 14), ('woodscape_soiling', 12)):
        config = Config(data=DataConfig(dataset=name, data_dir=str(tmp_path)))
        assert len(open_dataset(config, 'train')) == count
