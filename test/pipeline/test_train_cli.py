from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from offline_training import evaluate, train
from offline_training.learning.store import read_tensors, write_text
from offline_training.pipeline import running
from offline_training.pipeline.running import STAGES
from offline_training.pipeline.stages import backbone
from offline_training.segmentation import trainer

ROOT = Path(__file__).parents[2]
# Six 64x64 scenes, one phase, a handful of steps.
TINY = [
    '--input.width', '64', '--input.height', '64',
    '--data.train_samples', '6', '--data.val_samples', '2',
    '--backbone.architecture', 'enet', '--backbone.epochs', '3',
    '--backbone.validate_every', '1', '--backbone.ema_decay', '0.9',
    '--backbone.phases', '[{"crop_width": 64, "crop_height": 64, "batch_size": 2}]',
    '--device', 'cpu', '--threads', '1',
]  # fmt: skip


def run(output, *words):
    return train.main([*TINY, '--output', str(output), '--stages', 'backbone', *words])


@pytest.mark.slow
def test_a_tiny_training_writes_weights_that_evaluate(tmp_path, capsys):
    assert run(tmp_path) == 0
    facts = json.loads((tmp_path / 'backbone.json').read_text())
    assert facts['epochs'] == 3
    assert len(facts['history']) == 3
    weights = tmp_path / 'backbone.safetensors'
    status = evaluate.main([
        'segmentation', '--config', str(tmp_path / 'config.yaml'), '--weights', str(weights),
        '--split', 'val', '--json', '-',
    ])  # fmt: skip
    assert status == 0
    report = json.loads(capsys.readouterr().out)
    assert report['miou'] == pytest.approx(facts['val']['miou'])
    assert set(report['iou']) == set(facts['class_names'])
    assert report['protocol'] == 'void_as_false_positive'


@pytest.mark.slow
def test_an_interrupted_training_continues_to_the_same_weights(tmp_path, monkeypatch, capsys):
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    assert run(whole) == 0
    original, drawn = trainer.augment, []

    def ctrl_c(*args):
        drawn.append(args)
        if len(drawn) == 9:  # in the second of three epochs of three batches
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(trainer, 'augment', ctrl_c)
    assert run(broken) == 130
    assert '--resume' in capsys.readouterr().err
    assert not (broken / 'backbone.safetensors').exists()
    monkeypatch.setattr(trainer, 'augment', original)
    assert run(broken, '--resume') == 0
    assert 'continuing after epoch 1, step 5' in capsys.readouterr().err
    first, second = (read_tensors(path / 'backbone.safetensors') for path in (whole, broken))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.fixture
def stages(monkeypatch):
    """Stages that only write their files; a list of those that ran, and what they write."""
    ran, content = [], {}
    for name, stage in STAGES.items():

        def fake(context, name=name, stage=stage):
            ran.append(name)
            for file in stage.writes:
                write_text(context.output_dir / file, content.get(name, name))

        module = importlib.import_module(f'offline_training.pipeline.stages.{name}')
        monkeypatch.setattr(module, 'run', fake)
    return ran, content


def ran_again(ran, output, *words):
    ran.clear()
    assert train.main([*TINY, '--output', str(output), '--resume', *words]) == 0
    return list(ran)


def test_resume_repeats_what_changed_and_what_is_made_from_it(tmp_path, stages, capsys):
    ran, content = stages
    assert ran_again(ran, tmp_path) == list(STAGES)
    assert ran_again(ran, tmp_path) == []
    assert 'backbone: finished before, skipped' in capsys.readouterr().err
    # The observer comes out as before, so that nothing after it is done again.
    assert ran_again(ran, tmp_path, '--observer.epochs', '9') == ['observer', 'left_out']
    assert (
        'observer: runs again, what is stored does not fit: observer.epochs was 8 and is 9'
        in ' '.join(capsys.readouterr().err.split())
    )
    content['flow'] = 'another flow'
    changed = ['--observer.epochs', '9', '--flow.epochs', '9']
    assert ran_again(ran, tmp_path, *changed) == [
        'flow',
        'left_out',
        'calibrate',
        'evaluate',
        'export',
    ]
    assert 'result of flow was' in ' '.join(capsys.readouterr().err.split())
    (tmp_path / 'calibration.json').unlink()
    assert ran_again(ran, tmp_path, *changed) == ['calibrate']
    assert 'calibration.json is damaged or incomplete' in ' '.join(capsys.readouterr().err.split())


def test_where_a_file_lies_is_no_reason_to_train_again(tmp_path, stages):
    ran, _ = stages
    first, second = tmp_path / 'a.pth', tmp_path / 'b.pth'
    for path in (first, second):
        path.write_bytes(b'weights')
    for key in ('weights', 'initial_weights'):
        output = tmp_path / key
        assert ran_again(ran, output, f'--backbone.{key}', str(first)) == list(STAGES)
        assert ran_again(ran, output, f'--backbone.{key}', str(second)) == []
        second.write_bytes(b'other weights')
        assert ran_again(ran, output, f'--backbone.{key}', str(second)) == ['backbone']
        second.write_bytes(b'weights')


def test_an_added_image_is_a_reason_to_train_again(tmp_path, stages):
    ran, _ = stages
    frame = np.tile(np.uint8([0, 1]), (64, 32))
    for split in ('train', 'val'):
        for folder in ('images', 'labels'):
            (tmp_path / 'data' / split / folder).mkdir(parents=True)
            for name in ('0.png', '1.png'):
                cv2.imwrite(str(tmp_path / 'data' / split / folder / name), frame)
    (tmp_path / 'data' / 'classes.yaml').write_text(
        'classes: [{name: road, color: [0, 0, 0]}, {name: sky, color: [9, 9, 9]}]'
    )
    words = ['--data.dataset', 'folder', '--data-dir', str(tmp_path / 'data')]
    assert ran_again(ran, tmp_path / 'run', *words) == list(STAGES)
    # Where decoded images are kept does not change them.
    assert ran_again(ran, tmp_path / 'run', *words, '--data.cache', str(tmp_path / 'c')) == []
    for folder in ('images', 'labels'):
        cv2.imwrite(str(tmp_path / 'data' / 'val' / folder / '2.png'), frame)
    assert ran_again(ran, tmp_path / 'run', *words) == list(STAGES)


def test_of_several_processes_the_first_alone_writes(tmp_path, monkeypatch, stages):
    ran, _ = stages
    assert ran_again(ran, tmp_path) == list(STAGES)
    notes = {path: path.read_text() for path in (tmp_path / 'stages').iterdir()}
    monkeypatch.setattr(running, 'rank', lambda: 1)
    assert ran_again(ran, tmp_path, '--flow.epochs', '9') == ['flow', 'left_out']
    assert ran_again(ran, tmp_path, '--calibration.clips', '9') == []
    assert {path: path.read_text() for path in (tmp_path / 'stages').iterdir()} == notes


def test_only_a_checkpoint_of_the_same_settings_is_continued(tmp_path, monkeypatch, stages):
    folder = tmp_path / 'checkpoints'
    found = []

    def power_cut(context):
        found.append({path.name for path in folder.glob('*')})
        for name in ('backbone.pt', 'backbone_second.pt', 'flow.pt'):
            write_text(folder / name, 'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(backbone, 'run', power_cut)
    other = ['--backbone.epochs', '9']
    for words in ([], ['--resume'], ['--resume', *other], other):
        assert run(tmp_path, *words) == 130
    whole = {'backbone.pt', 'backbone_second.pt', 'flow.pt'}
    assert found == [set(), whole, {'flow.pt'}, {'flow.pt'}]


def test_imported_weights_are_used_unchanged(tmp_path):
    from offline_training.learning.store import read_tensors, write_tensors
    from offline_training.segmentation.backbones import build_backbone
    from ros2_ood_monitor.scenes import classes

    weights = tmp_path / 'given.safetensors'
    write_tensors(weights, build_backbone('enet', num_classes=len(classes.NAMES)).state_dict())
    assert run(tmp_path / 'run', '--weights', str(weights)) == 0
    written = read_tensors(tmp_path / 'run' / 'backbone.safetensors')
    for name, value in read_tensors(weights).items():
        assert torch.equal(value, written[name])


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--stages', 'backbone,fly'], "--stages names 'fly'"),
        (['--stages', 'flow'], "stage 'flow' needs stage 'backbone'"),
        (['--data.dataset', 'camvid', '--stages', 'backbone'], 'give --data-dir'),
        (['--backbone.epoch', '3'], "did you mean 'epochs'"),
        (['--weights', '/nowhere/w.pth', '--stages', 'backbone'], '/nowhere/w.pth does not exist'),
        (['--config', '/nowhere.yaml'], '/nowhere.yaml does not exist'),
    ],
)
def test_mistakes_get_one_sentence_and_status_2(tmp_path, capsys, words, reason):
    assert train.main([*TINY, '--output', str(tmp_path), *words]) == 2
    *_, sentence = capsys.readouterr().err.strip().splitlines()
    assert sentence.startswith('error: ')
    assert reason in sentence


def test_print_config_prints_and_trains_nothing(tmp_path, capsys):
    assert train.main([*TINY, '--output', str(tmp_path / 'none'), '--print-config']) == 0
    assert 'epochs: 3' in capsys.readouterr().out
    assert not (tmp_path / 'none').exists()


@pytest.mark.parametrize('module', ['torch', 'jsonargparse', 'sklearn', 'scipy'])
def test_a_missing_package_is_named_with_its_extra(module):
    """In a process of its own, where nothing has been imported yet; None = not installed."""
    code = (
        f'import sys; sys.modules[{module!r}] = None; from offline_training import train; '
        "sys.exit(train.main(['--print-config']))"
    )
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ''
    assert ended.stderr == (
        f"error: the Python package '{module}' is missing; type: pip install '.[training]' in the "
        'repository\n'
    )


@pytest.mark.parametrize(
    ('command', 'module'),
    [
        *itertools.product(
            ['evaluate', 'compare', 'attack_autoencoder', 'residual_flow_protocol'],
            ['torch', 'sklearn'],
        ),
        ('cutouts', 'torch'),
    ],
)
def test_every_command_names_a_missing_package(command, module, tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(f'import sys; sys.modules[{module!r}] = None\n')
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, '-m', f'offline_training.{command}', '--help'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': path},
    )
    assert ended.stderr == (
        f"error: the Python package '{module}' is missing; type: pip install '.[training]' in the "
        'repository\n'
    )
    assert ended.returncode == 2


def test_what_can_be_certified_is_said_before_anything_is_trained(tmp_path, stages, capsys):
    assert ran_again(stages[0], tmp_path, '--calibration.clips', '3') == list(STAGES)
    told = ' '.join(capsys.readouterr().err.split())
    before, _, _ = told.partition('backbone')
    assert 'UNCERTIFIED: 3 normal sequences of' in before
    assert '2 more sequences and' in before
    words = ['--calibration.clips', '9', '--calibration.block_seconds', '600']
    ran_again(stages[0], tmp_path, *words)
    told = ' '.join(capsys.readouterr().err.split())
    assert '9 normal sequences of 1.5 h together can certify the asked 1 false alarms' in told
    assert 'UNCERTIFIED' not in told
    # Where nothing is calibrated, nothing is said.
    assert ran_again(stages[0], tmp_path, '--stages', 'flow', '--flow.epochs', '7') == ['flow']
    assert 'certif' not in capsys.readouterr().err
