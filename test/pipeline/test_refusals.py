"""What is refused before anything is trained, each rule through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from offline_training import train
from offline_training.learning.store import write_json
from offline_training.pipeline import command, refusals
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import Context, choose_device
from offline_training.pipeline.running import stage_entry

NAMES = ('road', 'sky', 'car', 'tree', 'sign')
SYNTHETIC = ['--data.train_samples', '4', '--data.val_samples', '2', '--device', 'cpu']


def make_folder(root: Path, labels: list[int], images: int = 20, size=(48, 96)) -> Path:
    """Write a labelled folder whose label images hold these values, in stripes."""
    height, width = size
    for part in ('images', 'labels'):
        (root / part).mkdir(parents=True)
    stripes = np.tile(np.resize(np.array(labels, np.uint8), width), (height, 1))
    rng = np.random.default_rng(0)
    for index in range(images):
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        cv2.imwrite(str(root / 'images' / f'{index:03}.png'), image)
        cv2.imwrite(str(root / 'labels' / f'{index:03}.png'), stripes)
    classes = [{'name': name, 'color': [i, i, i]} for i, name in enumerate(NAMES)]
    (root / 'classes.yaml').write_text(yaml.safe_dump({'classes': classes}))
    return root


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / 'my_data', [0, 1, 2, 3, 4, 255])


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Return a function that trains, and gives the one sentence with which it is refused."""
    monkeypatch.setattr(command, 'run_stages', lambda *_: pytest.fail('a stage was run'))

    def check(*words: str, output: str = 'run') -> str:
        assert train.main([*words, '--output', str(tmp_path / output)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith('error: ')
        return line

    return check


def own_images(folder: Path, *words: str) -> list[str]:
    return ['--data.dataset', 'folder', '--data-dir', str(folder), '--device', 'cpu', *words]


@pytest.mark.parametrize(
    ('words', 'parts'),
    [
        (['--stages', 'backbone,obsever'], ["--stages names 'obsever'", "mean 'observer'"]),
        (['--stages', ','], ['--stages names nothing']),
        (['--stages', 'backbone,calibrate'], ["'calibrate' needs stage 'flow'", '--stages flow']),
        (['--flow.taps', '[level9]'], ['flow.taps names level9', 'level1, level2, level3']),
        (['--observer.taps', '[level9]'], ['observer.taps names level9', 'level1']),
        (['--observer.taps', '[level3]'], ['observer.taps: level3', 'add a finer one']),
        (['--flow.channels', '257'], ['flow.channels is 257', 'level3 have 256']),
        (['--backbone.architecture', 'enet_2018'], ['enet_2018 cannot be exported', '--stages']),
        (['--backbone.architecture', 'segnt'], ["did you mean 'segnet'"]),
        (
            ['--backbone.architecture', 'segnet', '--input.height', '200'],
            ['input.width and input.height are 256x200', 'multiples of 32', '256x192'],
        ),
        (
            [
                '--backbone.architecture',
                'segnet',
                '--backbone.phases',
                '[{crop_width: 72, crop_height: 64}]',
            ],
            ['crop_width and crop_height in backbone.phases are 72x64', '64x64'],
        ),
        (
            [
                '--backbone.weights', 'w.pth', '--backbone.architecture', 'segnet',
                '--input.width', '264', '--flow.taps', '[down5]', '--flow.channels', '4',
            ],
            ['264x192', 'stride 32', 'down5'],
        ),
        (['--data.val_samples', '1'], ['the val split of synthetic has 1 images']),
        (['--data.dataset', 'camvid'], ['data.data_dir is not set', 'give --data-dir']),
        (['--data.dataset', 'camvit'], ["did you mean 'camvid'"]),
        (['--data.dataset', 'folder', '--data-dir', '/nowhere'], ['/nowhere is not a folder']),
        (['--export.tensorrt', 'sometimes'], ['export.tensorrt', 'auto, always, never']),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(words, parts, refused, tmp_path):
    sentence = refused(*SYNTHETIC, *words)
    for part in parts:
        assert part in sentence
    assert not (tmp_path / 'run').exists()


def test_a_network_that_cannot_be_exported_may_be_trained_alone(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(command, 'run_stages', lambda context, stages, resume: ran.append(stages))
    words = ['--backbone.architecture', 'enet_2018', '--stages', 'backbone']
    assert train.main([*SYNTHETIC, *words, '--output', str(tmp_path)]) == 0
    assert ran == [['backbone']]


@pytest.mark.parametrize('labels', [[0, 255], [0]])
def test_labels_without_a_class_are_refused(labels, refused, tmp_path):
    root = make_folder(tmp_path / 'masks', labels)
    sentence = refused(*own_images(root))
    assert str(root) in sentence
    assert 'sky, car, tree, sign' in sentence
    assert ('black-and-white masks' in sentence) == (255 in labels)


def test_one_missing_class_is_named_alone(refused, tmp_path):
    root = make_folder(tmp_path / 'no_cars', [0, 1, 3, 4, 255])
    assert 'has a pixel of car: add images' in refused(*own_images(root))


def test_a_class_seen_in_one_image_is_enough_and_reading_stops_there(
    folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(command, 'run_stages', lambda *_: None)
    rare = folder / 'labels' / '001.png'
    for path in (folder / 'labels').iterdir():
        if path != rare:
            cv2.imwrite(str(path), np.zeros((48, 96), np.uint8))
    config = load_config(None, [*own_images(folder)[:2], '--data.data_dir', str(folder)])
    context = Context(config, tmp_path / 'run', choose_device('cpu'))
    read = []
    original = type(context.train).__getitem__
    monkeypatch.setattr(
        type(context.train),
        '__getitem__',
        lambda self, index: read.append(index) or original(self, index),
    )
    refusals.refuse(context, ['backbone'], resume=False)
    assert read[-1] == 1
    assert len(read) == 2


def test_frozen_weights_need_no_labels_of_every_class(tmp_path, monkeypatch):
    root = make_folder(tmp_path / 'masks', [0, 255])
    monkeypatch.setattr(command, 'run_stages', lambda *_: None)
    words = own_images(root, '--weights', 'w.pth', '--output', str(tmp_path / 'run'))
    assert train.main(words) == 0


def test_too_few_images_and_outputs_are_refused(refused, tmp_path):
    few = make_folder(tmp_path / 'few', [0, 1, 2, 3, 4], images=4)
    assert 'too few to cut off a val split' in refused(*own_images(few))
    fewer = make_folder(tmp_path / 'fewer', [0, 1, 2, 3, 4], images=2)
    assert 'the train split of' in refused(*own_images(fewer))
    root = make_folder(tmp_path / 'two', [0, 1])
    (root / 'classes.yaml').write_text(
        'classes: [{name: a, color: [0, 0, 0]}, {name: b, color: [1, 1, 1]}]'
    )
    assert 'needs at least 5 outputs but the data has 2' in refused(*own_images(root))


@pytest.mark.parametrize('module', ['onnx', 'onnxscript', 'onnxruntime', 'sklearn'])
def test_a_package_of_a_later_stage_is_missed_at_once(module, refused, monkeypatch):
    monkeypatch.setattr(refusals, 'find_spec', lambda name: None if name == module else True)
    sentence = refused(*SYNTHETIC)
    assert refusals.PACKAGES['calibrate' if module == 'sklearn' else 'export'][module] in sentence
    assert "pip install '.[training]'" in sentence


def test_tensorrt_that_must_be_built_must_be_installed(refused, monkeypatch, tmp_path):
    missing = ('tensorrt', 'tensorrt_rtx')
    monkeypatch.setattr(refusals, 'find_spec', lambda name: None if name in missing else True)
    sentence = refused(*SYNTHETIC, '--export.tensorrt', 'always')
    assert "export.tensorrt is 'always'" in sentence
    assert 'tensorrt-rtx' in sentence
    monkeypatch.setattr(command, 'run_stages', lambda *_: None)
    assert train.main([*SYNTHETIC, '--output', str(tmp_path / 'auto')]) == 0


def fill(output: Path, *words: str, stage: str = 'backbone') -> None:
    """Note a finished stage in a folder, as a training leaves it."""
    config = load_config(None, [*SYNTHETIC, *words])
    context = Context(config, output, choose_device('cpu'))
    entry = stage_entry(context, stage)
    write_json(output / 'backbone.json', {})
    entry.record({'seconds': 1}, [output / 'backbone.json'])


@pytest.mark.parametrize('stage', ['backbone', 'backbone_begun'])
def test_a_folder_filled_with_other_settings_is_refused(stage, refused, tmp_path, monkeypatch):
    output = tmp_path / 'run'
    fill(output, '--backbone.epochs', '9')
    if stage != 'backbone':
        path = output / 'stages' / 'backbone.json'
        path.write_text(path.read_text().replace('"kind": "backbone"', f'"kind": "{stage}"'))
        shutil.move(path, path.with_stem(stage))
    before = sorted(output.rglob('*'))
    sentence = refused(*SYNTHETIC)
    assert 'backbone.epochs was 9 and is 8' in sentence
    assert str(output) in sentence
    assert '--resume' in sentence
    assert sorted(output.rglob('*')) == before
    ran = []
    monkeypatch.setattr(command, 'run_stages', lambda *_: ran.append(1))
    words = [*SYNTHETIC, '--output', str(output)]
    assert train.main([*words, '--resume']) == 0
    assert train.main([*words, '--backbone.epochs', '9']) == 0
    assert train.main([*words, '--backbone.epochs', '9', '--device', 'auto']) == 0
    assert len(ran) == 3
