"""Cut-outs as unknown objects: read strictly, pasted whole, and some kept for calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from offline_training.data.base import DataError
from offline_training.data.frames import Frames
from offline_training.detectors.observer import observer_training
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.segmentation.backbones import build_backbone
from offline_training.synthesis.cutouts import LICENCE_FILE, Cutouts
from offline_training.synthesis.negatives import held_out_negatives, training_negatives
from offline_training.synthesis.pasting import paste_objects
from offline_training.synthesis.silhouettes import HELD_OUT_OUTLINES, OUTLINES
from offline_training.synthesis.textures import HELD_OUT_TEXTURES, TEXTURES
from offline_training.watched.base import Watched
from offline_training.watched.normalization import InputConfig, Normalize

RED = (200, 10, 20)


def fill(folder: Path, count: int) -> Path:
    """Write red discs in transparent squares."""
    folder.mkdir()
    for index in range(count):
        image = np.zeros((40, 30, 4), np.uint8)
        cv2.circle(image, (15, 20), 12, (*RED[::-1], 255), -1)
        cv2.imwrite(str(folder / f'{index}.png'), image)
    return folder


def test_a_cutout_is_rgba_as_it_was_drawn(tmp_path: Path) -> None:
    cutouts = Cutouts(fill(tmp_path / 'a', 3))
    assert len(cutouts) == 3
    assert cutouts[0].shape == (40, 30, 4)
    assert cutouts[0][20, 15].tolist() == [*RED, 255]
    assert cutouts[0][0, 0, 3] == 0
    assert cutouts.licence is None


def test_a_network_that_takes_bgr_learns_from_cutouts_of_their_own_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pasted = []

    def paste(*given: Any) -> Any:
        pasted.append(given[-1].cutouts[0])
        return paste_objects(*given)

    monkeypatch.setattr(observer_training, 'paste_objects', paste)
    normalize = Normalize(InputConfig(color_order='bgr'))
    watched = Watched(build_backbone('espnet', num_classes=5), normalize, 5)
    frames = Frames([np.full((32, 32, 3), 90, np.uint8)] * 6, [np.zeros((32, 32), np.uint8)] * 6)
    objects = str(fill(tmp_path / 'a', 8))
    LightObserver(width=8, epochs=1, objects=objects).fit(watched, frames)
    held_out = held_out_negatives(objects, 'bgr').cutouts[0]
    assert pasted
    for cutout in (*pasted, held_out):
        assert tuple(cutout[20, 15]) == (*RED[::-1], 255)


def test_a_licence_beside_the_cutouts_is_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / 'a', 1)
    (folder / LICENCE_FILE).write_text('CC BY 4.0\n', encoding='utf-8')
    assert Cutouts(folder).licence == 'CC BY 4.0'


def test_training_and_calibration_share_no_object(tmp_path: Path) -> None:
    folder = str(fill(tmp_path / 'a', 23))
    trained, held_out = (
        {path.name for path in negatives(folder).cutouts.paths}  # type: ignore[attr-defined]
        for negatives in (training_negatives, held_out_negatives)
    )
    assert not trained & held_out
    assert len(trained | held_out) == 23
    assert len(held_out) >= 3
    assert not set(TEXTURES) & set(HELD_OUT_TEXTURES)
    assert not set(OUTLINES) & set(HELD_OUT_OUTLINES)


def test_half_of_the_objects_are_cutouts_and_the_mask_covers_them(tmp_path: Path) -> None:
    negatives = training_negatives(str(fill(tmp_path / 'a', 8)))
    grey = np.full((120, 160, 3), 128, np.uint8)
    red = 0
    for seed in range(200):
        image, mask = paste_objects(np.random.default_rng(seed), grey, None, 1, negatives)
        changed = np.abs(image.astype(int) - 128).max(axis=2) > 60
        # Outside the mask only a feathered rim may differ.
        rim = cv2.dilate(mask, np.ones((11, 11), np.uint8)) > 0
        assert not (changed & ~rim).any()
        inside = image[mask > 0].astype(float)
        if inside.size:
            colour = inside.mean(axis=0)
            red += colour[0] > 1.5 * colour[1] and colour[0] > 1.5 * colour[2]
    assert 40 <= red <= 130


@pytest.mark.parametrize('held_out', [False, True])
def test_held_out_families_paste_visible_objects(held_out: bool) -> None:
    negatives = held_out_negatives(None) if held_out else training_negatives(None)
    grey = np.full((120, 160, 3), 128, np.uint8)
    masks = [
        paste_objects(np.random.default_rng(seed), grey, None, 3, negatives)[1]
        for seed in range(40)
    ]
    assert all(mask.any() for mask in masks)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='does not exist'):
        Cutouts(tmp_path / 'none')


def test_a_folder_without_images_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / 'photo.jpg').write_bytes(b'')
    with pytest.raises(DataError, match='holds no cut-outs'):
        Cutouts(tmp_path)


@pytest.mark.parametrize(
    ('image', 'fault'),
    [
        (np.zeros((8, 8, 3), np.uint8), 'with alpha'),
        (np.zeros((8, 8, 4), np.uint16), '8-bit'),
        (np.zeros((8, 8, 4), np.uint8), 'transparent'),
    ],
)
def test_an_image_that_is_no_cutout_is_refused(
    tmp_path: Path, image: np.ndarray, fault: str
) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    with pytest.raises(DataError, match=fault):
        Cutouts(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / 'broken.webp').write_bytes(b'RIFF')
    with pytest.raises(DataError, match=r'broken\.webp'):
        Cutouts(tmp_path)
