from __future__ import annotations

import json

import pytest
import torch

from offline_training import evaluate, train
from offline_training.pipeline.config import Config
from offline_training.pipeline.stages import backbone
from offline_training.segmentation.config import BackboneConfig

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


def test_an_interrupted_training_continues_to_the_same_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('offline_training.segmentation.trainer.CHECKPOINT_SECONDS', 0.0)
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    assert run(whole) == 0

    original = backbone.Trainer._epoch

    def power_cut(self, *args):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(backbone.Trainer, '_epoch', power_cut)
    assert run(broken) == 130
    assert '--resume' in capsys.readouterr().err
    assert not (broken / 'backbone.safetensors').exists()
    monkeypatch.setattr(backbone.Trainer, '_epoch', original)
    assert run(broken, '--resume') == 0
    assert 'continuing after epoch 2' in capsys.readouterr().err
    first, second = (
        torch.load(path / 'checkpoints' / 'backbone.pt', weights_only=True)
        for path in (whole, broken)
    )
    for name, value in first['network'].items():
        # Dropout draws differ after the interruption; the data and the schedule do not.
        assert value.shape == second['network'][name].shape
    assert [h['progress'] for h in first['history']] == [h['progress'] for h in second['history']]


def test_resume_skips_what_is_finished_and_redoes_what_changed(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(backbone, 'run', lambda context: calls.append(context.config))
    assert run(tmp_path) == 0
    assert run(tmp_path, '--resume') == 0
    assert len(calls) == 1
    assert 'finished before' in capsys.readouterr().err
    assert run(tmp_path, '--resume', '--observer.epochs', '9') == 0
    assert len(calls) == 1
    assert run(tmp_path, '--resume', '--backbone.learning_rate', '0.5') == 0
    assert len(calls) == 2
    assert 'configuration changed' in capsys.readouterr().err


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


def test_a_network_that_cannot_be_exported_is_refused_before_training(tmp_path, capsys):
    words = ['--backbone.architecture', 'enet_2018']
    assert train.main([*TINY, '--output', str(tmp_path), *words]) == 2
    assert 'enet_2018 cannot be exported' in capsys.readouterr().err
    assert not (tmp_path / 'backbone.safetensors').exists()
    assert run(tmp_path, *words) == 0  # the backbone stage alone


@pytest.mark.parametrize('key', ['weights', 'initial_weights'])
def test_a_stage_depends_on_what_its_checkpoint_holds(tmp_path, key):
    path = tmp_path / 'start.pth'
    config = Config(backbone=BackboneConfig(**{key: str(path)}))
    hashes = []
    for content in (b'first', b'second'):
        path.write_bytes(content)
        hashes.append(train.stage_inputs(config)['backbone'])
    assert hashes[0] != hashes[1]


def test_print_config_prints_and_trains_nothing(tmp_path, capsys):
    assert train.main([*TINY, '--output', str(tmp_path / 'none'), '--print-config']) == 0
    assert 'epochs: 3' in capsys.readouterr().out
    assert not (tmp_path / 'none').exists()
