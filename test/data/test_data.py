"""Data sets on disk: read right, or refused with one sentence that names the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from offline_training.data.base import DataError
from offline_training.data.camvid import CamVid
from offline_training.data.folder import AnomalyFolder
from offline_training.data.labelled_folder import LabelledFolder
from offline_training.data.synthetic import SyntheticScenes

SIZE = (24, 32)
CLASSES_YAML = 'classes:\n- {name: road, color: [1, 2, 3]}\n- {name: sky, color: [4, 5, 6]}\n'


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_image(path: Path, rgb: tuple[int, int, int] = (10, 20, 30)) -> Path:
    return write(path, np.full((*SIZE, 3), rgb[::-1], np.uint8))


def labels(path: Path, *values: int, size: tuple[int, int] = SIZE) -> Path:
    """Write labels whose column c holds values[c % len(values)]."""
    row = np.resize(np.array(values, np.uint8), size[1])
    return write(path, np.tile(row, (size[0], 1)))


def camvid_tree(root: Path) -> Path:
    for name in ('0016E5_07961', '0001TP_000010', '0016E5_07959'):
        write_image(root / 'val' / f'{name}.png')
        labels(root / 'valannot' / f'{name}.png', 0, 3, 10, 11)
    return root


def mask_tree(root: Path) -> Path:
    for name in ('a', 'b'):
        write_image(root / 'images' / f'{name}.png')
        labels(root / 'labels_masks' / f'{name}.png', 0, 1, 255)
    return root


def camvid_ood_tree(root: Path) -> Path:
    for name in ('a', 'b'):
        write_image(root / 'images' / f'{name}.png')
        labels(root / 'labels' / f'{name}.png', 0, 10, 11, 12)
    return root


def flat_tree(root: Path) -> Path:
    for index in range(10):
        write_image(root / 'images' / f'{index}.png')
        labels(root / 'labels' / f'{index}.png', 0, 1, 255)
    (root / 'classes.yaml').write_text(CLASSES_YAML)
    return root


def test_camvid_reads_rgb_labels_void_and_drives(tmp_path: Path) -> None:
    dataset = CamVid(camvid_tree(tmp_path), 'val')
    assert dataset.names == ('0001TP_000010', '0016E5_07959', '0016E5_07961')
    assert dataset.sequences == ('0001TP', '0016E5', '0016E5')
    sample = dataset[1]
    assert (sample.name, sample.sequence) == ('0016E5_07959', '0016E5')
    assert sample.image.shape == (*SIZE, 3)
    assert sample.image[0, 0].tolist() == [10, 20, 30]
    assert sample.labels[5, :4].tolist() == [0, 3, 10, 255]
    assert len(dataset.class_names) == len(dataset.palette) == 11
    assert dataset.class_names[3] == 'road'


def test_camvid_reads_webp_as_png(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    texture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    (tmp_path / 'val' / '0016E5_07959.png').unlink()
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
    cv2.imwrite(str(tmp_path / 'val' / '0016E5_07959.webp'), texture, lossless)
    np.testing.assert_array_equal(CamVid(tmp_path, 'val')[1].image, texture[..., ::-1])


def test_mask_folder(tmp_path: Path) -> None:
    dataset = AnomalyFolder(mask_tree(tmp_path))
    assert dataset.names == ('a', 'b')
    assert dataset[0].name == 'a'
    assert dataset[0].image[0, 0].tolist() == [10, 20, 30]
    assert dataset[0].labels[3, :3].tolist() == [0, 1, 255]


def test_mask_folder_as_segment_me_if_you_can_ships_it(tmp_path: Path) -> None:
    write_image(tmp_path / 'images' / 'validation0000.jpg')
    masks = tmp_path / 'labels_masks'
    labels(masks / 'validation0000_labels_semantic.png', 0, 1)
    assert AnomalyFolder(tmp_path)[0].name == 'validation0000'


def test_camvid_ood_rule(tmp_path: Path) -> None:
    dataset = AnomalyFolder(camvid_ood_tree(tmp_path))
    assert dataset[1].labels[0, :4].tolist() == [0, 0, 255, 1]


def test_own_folder_is_split_without_mixing_neighbours(tmp_path: Path) -> None:
    flat_tree(tmp_path)
    names = [LabelledFolder(tmp_path, split).names for split in ('train', 'val', 'test')]
    assert sum(names, ()) == tuple('0123456789')
    assert [len(part) for part in names] == [7, 1, 2]
    dataset = LabelledFolder(tmp_path, 'train')
    assert dataset.class_names == ('road', 'sky')
    assert dataset.palette == ((1, 2, 3), (4, 5, 6))
    assert dataset[0].labels[0, :3].tolist() == [0, 1, 255]


def test_own_folder_with_given_splits_and_void_values(tmp_path: Path) -> None:
    write_image(tmp_path / 'val' / 'images' / 'x.png')
    labels(tmp_path / 'val' / 'labels' / 'x.png', 0, 1, 7)
    (tmp_path / 'classes.yaml').write_text(CLASSES_YAML + 'void: [7]\n')
    assert LabelledFolder(tmp_path, 'val')[0].labels[0, :3].tolist() == [0, 1, 255]
    with pytest.raises(DataError, match='train'):
        LabelledFolder(tmp_path, 'train')


# One fault each, in every kind of folder: what is opened, where labels lie, how to damage it.
TREES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object], str, str]] = {
    'camvid': (camvid_tree, lambda root: CamVid(root, 'val'), 'val', 'valannot'),
    'masks': (mask_tree, AnomalyFolder, 'images', 'labels_masks'),
    'camvid_ood': (camvid_ood_tree, AnomalyFolder, 'images', 'labels'),
    'own': (flat_tree, lambda root: LabelledFolder(root, 'train'), 'images', 'labels'),
}


@pytest.mark.parametrize('kind', TREES)
@pytest.mark.parametrize(
    'fault', ['no labels', 'no image', 'size', 'value', 'colour', '16 bit', 'broken', 'empty']
)
def test_every_fault_is_one_sentence_that_names_the_file(
    tmp_path: Path, kind: str, fault: str
) -> None:
    build, opener, images, label_folder = TREES[kind]
    build(tmp_path)
    first_labels = sorted((tmp_path / label_folder).iterdir())[0]
    first_image = tmp_path / images / first_labels.name
    opened: object = opener(tmp_path)  # usable before the damage
    assert opened[0].name == first_labels.stem  # type: ignore[index]
    named, advice = first_labels, ''
    if fault == 'no labels':
        first_labels.unlink()
        advice = 'add'
    elif fault == 'no image':
        first_image.unlink()
        advice = 'add'
    elif fault == 'size':
        labels(first_labels, 0, 1, size=(10, 20))
        advice = '20x10'
    elif fault == 'value':
        labels(first_labels, 0, 77)
        advice = '77'
    elif fault == 'colour':
        write(first_labels, np.dstack([np.full(SIZE, value, np.uint8) for value in (0, 1, 0)]))
        advice = '8-bit'
    elif fault == '16 bit':
        write(first_labels, np.zeros(SIZE, np.uint16))
        advice = '8-bit'
    elif fault == 'broken':
        first_image.write_bytes(first_image.read_bytes()[:20])
        named, advice = first_image, 'replace'
    else:
        for path in (tmp_path / images).iterdir():
            path.unlink()
        named, advice = tmp_path / images, 'no images'
    with pytest.raises(DataError) as caught:
        opener(tmp_path)[0]  # type: ignore[index]
    text = str(caught.value)
    assert str(named) in text
    assert advice in text
    assert text.endswith('.')
    assert '\n' not in text


@pytest.mark.parametrize('opener', [AnomalyFolder, lambda root: CamVid(root, 'train')])
def test_missing_root(tmp_path: Path, opener: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match='nowhere'):
        opener(tmp_path / 'nowhere')


def test_anomaly_folder_without_any_labels(tmp_path: Path) -> None:
    write_image(tmp_path / 'images' / 'a.png')
    with pytest.raises(DataError, match='labels_masks'):
        AnomalyFolder(tmp_path)


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='weekend'):
        CamVid(camvid_tree(tmp_path), 'weekend')  # type: ignore[arg-type]


def test_same_frame_twice(tmp_path: Path) -> None:
    mask_tree(tmp_path)
    write_image(tmp_path / 'images' / 'a.bmp')
    with pytest.raises(DataError, match='same frame'):
        AnomalyFolder(tmp_path)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        (None, 'missing'),
        ('classes: [', 'cannot be read as YAML'),
        ('- road', 'only have the keys'),
        (CLASSES_YAML + 'colors: []', 'only have the keys'),
        ('classes: [{name: road, color: [1, 2, 3]}]', 'list of 2'),
        ('classes: [{name: road, color: [1, 2, 3]}, {name: sky}]', 'class 1 must read'),
        (CLASSES_YAML.replace('6', '600'), 'class 1 must read'),
        (CLASSES_YAML.replace('sky', 'road'), 'twice'),
        (CLASSES_YAML + 'void: [1]', 'also the label'),
        (CLASSES_YAML + 'void: 9', 'list of label values'),
    ],
)
def test_class_list_faults(tmp_path: Path, text: str | None, match: str) -> None:
    flat_tree(tmp_path)
    file = tmp_path / 'classes.yaml'
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(DataError, match=match) as caught:
        LabelledFolder(tmp_path, 'train')
    assert str(file) in str(caught.value)


def shared(*parts: str) -> Path:
    root = Path(os.environ.get('OOD_SHARED', Path(__file__).parents[3] / 'shared'))
    folder = root.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f'{folder} is absent')
    return folder


@pytest.mark.parametrize(('split', 'count'), [('train', 367), ('val', 101), ('test', 233)])
def test_real_camvid(split: str, count: int) -> None:
    dataset = CamVid(shared('camvid'), split)  # type: ignore[arg-type]
    assert len(dataset) == count
    for index in (0, count - 1):
        sample = dataset[index]
        assert sample.image.shape == (360, 480, 3)
        assert set(np.unique(sample.labels)) <= {*range(11), 255}
        assert (sample.labels == 3).mean() > 0.05, 'a drive without road'


@pytest.mark.parametrize(
    ('parts', 'count'),
    [
        (('camvid_ood',), 233),
        (('anomaly', 'RoadAnomaly21'), 10),
        (('anomaly', 'fs_static'), 30),
    ],
)
def test_real_anomalies(parts: tuple[str, ...], count: int) -> None:
    dataset = AnomalyFolder(shared(*parts))
    assert len(dataset) == count
    sample = dataset[count // 2]
    assert sample.image.shape[:2] == sample.labels.shape
    assert 0 < (sample.labels == 1).mean() < 0.5


def test_synthetic_splits_share_no_image() -> None:
    splits = [SyntheticScenes(split, 3, 64, 48) for split in ('train', 'val', 'test')]
    decoded = {dataset[index].image.tobytes() for dataset in splits for index in range(3)}
    assert len(decoded) == 9
    sample = splits[0][2]
    assert (sample.image.shape, sample.labels.shape) == ((48, 64, 3), (48, 64))
    np.testing.assert_array_equal(sample.image, splits[0][2].image)
    assert len(splits[0].class_names) == len(splits[0].palette)
    assert len(list(splits[0])) == 3


def test_synthetic_splits_are_checked() -> None:
    with pytest.raises(DataError, match='at least 1'):
        SyntheticScenes('train', 0)
    with pytest.raises(DataError, match='weekend'):
        SyntheticScenes('weekend', 1)  # type: ignore[arg-type]
