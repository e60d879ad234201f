"""Labelled images that are decoded on demand, and the folder that keeps them decoded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from offline_training.data.base import SegmentationSample
from offline_training.data.frames import Frames
from offline_training.data.labelled_folder import LabelledFolder
from offline_training.data.network_size import AtNetworkSize
from offline_training.data.synthetic import SyntheticScenes


class Counting:
    """Ten samples that note which were decoded."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> SegmentationSample:
        self.decoded.append(index)
        image = np.full((4, 6, 3), index, np.uint8)
        return SegmentationSample(image, image[..., 0], f'frame {index}', f'road {index // 5}')


def labelled_folder(root: Path, count: int = 4) -> LabelledFolder:
    rng = np.random.default_rng(0)
    for kind in ('images', 'labels'):
        (root / 'train' / kind).mkdir(parents=True)
    (root / 'classes.yaml').write_text(
        'classes: [{name: road, color: [1, 2, 3]}, {name: sky, color: [4, 5, 6]}]'
    )
    for index in range(count):
        image = rng.integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(root / 'train' / 'images' / f'{index}.png'), image)
        labels = rng.integers(0, 2, (48, 64), np.uint8)
        cv2.imwrite(str(root / 'train' / 'labels' / f'{index}.png'), labels)
    return LabelledFolder(root, 'train')


def test_only_what_is_asked_for_is_decoded() -> None:
    source = Counting()
    frames = Frames.of(source)
    part = frames.subset(range(2, 8)).subset([5, 0])
    assert len(frames) == 10
    assert len(part.images) == 2
    assert source.decoded == []
    assert part[1][0][0, 0, 0] == 2
    assert [int(labels[0, 0]) for _, labels in part] == [7, 2]
    assert source.decoded == [2, 7, 2]
    assert (part.name(0), part.sequence(0)) == ('frame 7', 'road 1')


def test_batches_are_in_order_and_the_last_is_shorter() -> None:
    batches = list(Frames.of(Counting()).batches(4, torch.device('cpu')))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    assert torch.cat([labels for _, labels in batches])[:, 0, 0].tolist() == list(range(10))


def test_columns_are_lazy_and_may_be_cut() -> None:
    source = Counting()
    images = Frames.of(source).images[::3]
    assert (len(images), source.decoded) == (4, [])
    assert [int(image[0, 0, 0]) for image in images] == [0, 3, 6, 9]


def test_images_and_labels_must_be_as_many() -> None:
    with pytest.raises(ValueError, match='2 images have 1 label maps'):
        Frames([np.zeros((4, 4, 3), np.uint8)] * 2, [np.zeros((4, 4), np.uint8)])


def test_the_cache_holds_what_was_decoded(tmp_path: Path) -> None:
    dataset = labelled_folder(tmp_path / 'set')
    plain = AtNetworkSize(dataset, 32, 24, 'bgr')
    kept = AtNetworkSize(dataset, 32, 24, 'bgr', tmp_path / 'cache')
    for _ in range(2):
        for index in range(len(dataset)):
            one, other = plain[index], kept[index]
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.labels, other.labels)
            assert (one.name, one.sequence) == (other.name, other.sequence)
            assert other.image.flags.c_contiguous
    assert len(list((tmp_path / 'cache').iterdir())) == len(dataset)


def test_the_cache_decodes_each_image_once(tmp_path: Path, monkeypatch) -> None:
    kept = AtNetworkSize(labelled_folder(tmp_path / 'set'), 32, 24, 'rgb', tmp_path / 'cache')
    first = kept[0]
    monkeypatch.setattr(LabelledFolder, '__getitem__', lambda *_: pytest.fail('decoded again'))
    np.testing.assert_array_equal(kept[0].image, first.image)


@pytest.mark.parametrize('size', [(40, 24, 'rgb'), (32, 24, 'bgr')])
def test_other_sizes_and_orders_are_not_mixed_up(tmp_path: Path, size) -> None:
    dataset = labelled_folder(tmp_path / 'set')
    AtNetworkSize(dataset, 32, 24, 'rgb', tmp_path / 'cache')[0]
    again = AtNetworkSize(dataset, *size, tmp_path / 'cache')[0]
    np.testing.assert_array_equal(again.image, AtNetworkSize(dataset, *size)[0].image)


def test_changed_files_and_damaged_entries_are_decoded_anew(tmp_path: Path) -> None:
    dataset = labelled_folder(tmp_path / 'set')
    kept = AtNetworkSize(dataset, 64, 48, 'rgb', tmp_path / 'cache')
    before = kept[0].image
    (entry,) = (tmp_path / 'cache').iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    np.testing.assert_array_equal(kept[0].image, before)
    cv2.imwrite(str(dataset.files[0].image), np.zeros((48, 64, 3), np.uint8))
    assert kept[0].image.max() == 0


def test_scenes_of_other_splits_are_not_mixed_up(tmp_path: Path) -> None:
    train, val = (
        AtNetworkSize(SyntheticScenes(split, 1, 64, 48), 64, 48, 'rgb', tmp_path)[0].image
        for split in ('train', 'val')
    )
    assert (train != val).any()
