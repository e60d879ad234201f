"""Folders of cut-outs from COCO annotations, instance maps and images with alpha."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_training import cutouts
from offline_training.synthesis.cutouts import Cutouts
from offline_training.synthesis.instance_masks import coco_mask, unpacked

RED, BLUE = (200, 10, 20), (30, 40, 210)
ROWS, COLUMNS = 80, 120
BOX = (slice(20, 60), slice(30, 80))
"""Where the thing is in the test's image."""


def image(*things: tuple[tuple[slice, slice], tuple[int, int, int]]) -> np.ndarray:
    """Return RGB (80, 120, 3): grey, with coloured boxes."""
    pixels = np.full((ROWS, COLUMNS, 3), 128, np.uint8)
    for box, colour in things:
        pixels[box] = colour
    return pixels


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, order[pixels.shape[2]])
    assert cv2.imwrite(str(path), pixels)


def runs(mask: np.ndarray) -> list[int]:
    """Return COCO's run lengths of a mask: column by column, the first of zeros."""
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, flat.size]).tolist()
    return lengths if flat[0] == 0 else [0, *lengths]


def packed(lengths: list[int]) -> str:
    """Write run lengths as COCO does, from its description."""
    text = ''
    for index, length in enumerate(lengths):
        value = length - (lengths[index - 2] if index > 2 else 0)
        while True:
            group, value = value & 31, value >> 5
            last = value == (-1 if group & 16 else 0)
            text += chr(48 + (group if last else group | 32))
            if last:
                break
    return text


def polygon() -> list[list[float]]:
    rows, columns = BOX
    left, right, top, bottom = columns.start, columns.stop - 1, rows.start, rows.stop - 1
    return [[left, top, right, top, right, bottom, left, bottom]]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_packed_and_plain_runs_are_the_mask(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, columns)) < rng.random()
    lengths = runs(mask)
    for counts in (lengths, packed(lengths)):
        found = coco_mask({'counts': counts, 'size': [rows, columns]}, rows, columns)
        np.testing.assert_array_equal(found, mask)


def test_a_known_text_of_packed_runs() -> None:
    # 6 zeros, 1 one, 40 zeros, 4 ones, 5 zeros: 40 takes two characters, then differences.
    assert unpacked('61X13mN') == [6, 1, 40, 4, 5]


@pytest.mark.parametrize('text', ['o', '6 1', '6~', 'é'])
def test_broken_packed_runs_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match='packed runs'):
        unpacked(text)


def coco(folder: Path, segmentation: Any, **others: Any) -> list[str]:
    """Write a COCO set of one image with the thing and a car; return the options for it."""
    write(folder / 'images' / 'a.png', image((BOX, RED)))
    things = [
        {'id': 7, 'image_id': 3, 'category_id': 1, 'segmentation': segmentation, **others},
        {'id': 8, 'image_id': 3, 'category_id': 2, 'segmentation': polygon()},
    ]
    document = {
        'images': [{'id': 3, 'file_name': 'a.png'}],
        'categories': [{'id': 1, 'name': 'teddy bear'}, {'id': 2, 'name': 'car'}],
        'annotations': things,
    }
    (folder / 'coco.json').write_text(json.dumps(document))
    words = ['--coco', str(folder / 'coco.json'), '--images', str(folder / 'images')]
    return [*words, '--output', str(folder / 'out'), '--exclude', 'car, bus']


def box_mask() -> np.ndarray:
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[BOX] = True
    return mask


@pytest.mark.parametrize('kind', ['polygon', 'runs', 'packed'])
def test_a_thing_of_coco_is_cut_out(kind: str, tmp_path: Path) -> None:
    lengths = runs(box_mask())
    size = [ROWS, COLUMNS]
    segmentation = {
        'polygon': polygon(),
        'runs': {'counts': lengths, 'size': size},
        'packed': {'counts': packed(lengths), 'size': size},
    }[kind]
    words = coco(tmp_path, segmentation)
    assert cutouts.main([*words, '--licence', 'CC BY 4.0']) == 0
    found = Cutouts(tmp_path / 'out')
    assert [path.name for path in found.paths] == ['teddy_bear-7.png']
    assert found[0].shape == (40, 50, 4)
    assert (found[0] == (*RED, 255)).all()
    assert found.licence == 'CC BY 4.0'
    sheet = cv2.imread(str(tmp_path / 'out' / cutouts.SHEET))
    assert sheet.shape == (96, 960, 3)
    assert np.abs(sheet[48, 48].astype(int) - RED[::-1]).max() < 12


@pytest.mark.parametrize(
    ('others', 'options', 'kept'),
    [
        ({'iscrowd': 1}, [], 0),
        ({}, ['--least-side', '41'], 0),
        ({}, ['--least-side', '40'], 1),
        ({}, ['--most', '0'], 0),
    ],
)
def test_what_is_no_cutout_is_left_out(
    others: dict[str, Any], options: list[str], kept: int, tmp_path: Path, capsys: Any
) -> None:
    status = cutouts.main([*coco(tmp_path, polygon(), **others), *options])
    told = ' '.join(capsys.readouterr().err.split())
    if kept:
        assert status == 0
        assert f'{kept} cut-outs in' in told
        assert 'licence not stated' in told
    else:
        assert status == 2
        assert 'is a cut-out; try a smaller --least-side' in told
        assert [path.name for path in tmp_path.iterdir() if 'out' in path.name] == []


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda d: d.pop('images'), 'is not a COCO annotation file'),
        (lambda d: d['images'][0].update(file_name='../a.png'), 'is not inside'),
        (lambda d: d['images'][0].update(file_name='b.png'), 'cannot be read as an image'),
        (lambda d: d['annotations'][0].update(segmentation=[[1, 2, 3]]), 'annotation 7'),
        (lambda d: d['annotations'][0].update(segmentation={'counts': [9], 'size': [80, 120]}),
         'cover 9 of 9600 pixels'),
        (lambda d: d['annotations'][0].update(segmentation={'counts': [9], 'size': [3, 3]}),
         'its size is [3, 3]'),
    ],
)  # fmt: skip
def test_a_broken_annotation_is_named(
    change: Any, words: str, tmp_path: Path, capsys: Any
) -> None:
    given_words = coco(tmp_path, polygon())
    document = json.loads((tmp_path / 'coco.json').read_text())
    change(document)
    (tmp_path / 'coco.json').write_text(json.dumps(document))
    assert cutouts.main(given_words) == 2
    assert words in ' '.join(capsys.readouterr().err.split())
    assert not (tmp_path / 'out').exists()


def test_every_value_of_a_map_is_a_thing_that_is_whole(tmp_path: Path) -> None:
    corner = (slice(0, 40), slice(80, 120))
    write(tmp_path / 'images' / 'a.png', image((BOX, RED), (corner, BLUE)))
    values = np.zeros((ROWS, COLUMNS), np.uint16)
    values[BOX], values[corner], values[70:, :40] = 1000, 2000, 255
    write(tmp_path / 'maps' / 'a.png', values)
    words = ['--maps', str(tmp_path / 'maps'), '--images', str(tmp_path / 'images')]
    assert cutouts.main([*words, '--output', str(tmp_path / 'whole')]) == 0
    assert [path.name for path in Cutouts(tmp_path / 'whole').paths] == ['a-1000.png']
    assert cutouts.main([*words, '--keep-cut', '--output', str(tmp_path / 'all')]) == 0
    found = Cutouts(tmp_path / 'all')
    assert [path.name for path in found.paths] == ['a-1000.png', 'a-2000.png']
    assert (found[1] == (*BLUE, 255)).all()


def test_images_with_alpha_are_cropped_and_nothing_is_overwritten(
    tmp_path: Path, capsys: Any
) -> None:
    for category in ('cats', 'cars'):
        pixels = np.dstack([image((BOX, RED)), np.uint8(box_mask()) * 255])
        write(tmp_path / 'in' / category / 'x.png', pixels)
    cropped = np.full((40, 50, 4), 255, np.uint8)
    write(tmp_path / 'in' / 'cats' / 'y.png', cropped)
    words = ['--rgba', str(tmp_path / 'in'), '--output', str(tmp_path / 'out')]
    assert cutouts.main([*words, '--exclude', 'cars']) == 0
    found = Cutouts(tmp_path / 'out')
    assert [path.name for path in found.paths] == ['cats-cats-x.png', 'cats-cats-y.png']
    assert found[0].shape == found[1].shape == (40, 50, 4)
    assert cutouts.main(words) == 2
    assert 'is not empty; give a new folder' in ' '.join(capsys.readouterr().err.split())


def test_no_file_that_is_no_json_ends_in_a_traceback(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / 'coco.json').write_text('[' * 100_000)
    words = ['--coco', str(tmp_path / 'coco.json'), '--images', str(tmp_path)]
    assert cutouts.main([*words, '--output', str(tmp_path / 'out')]) == 2
    assert 'is not readable as JSON' in ' '.join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        cutouts.main([*words[:2], '--output', 'x'])
    assert '--images is missing' in capsys.readouterr().err
