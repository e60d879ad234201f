"""`python -m offline_training.attack_autoencoder`: train, apply, report."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from offline_training import attack_autoencoder, evaluate, train
from offline_training.attacks.autoencoder_training import AutoencoderTraining
from offline_training.attacks.malicious_autoencoder import (
    MaliciousAutoencoder,
    channels_reversed,
    load_attacker,
)
from offline_training.learning.store import read_tensors, write_tensors
from offline_training.watched.onnx_gates import check_graph

NETWORK = [
    '--input.width',
    '64',
    '--input.height',
    '64',
    '--input.color_order',
    'bgr',
    '--data.train_samples',
    '6',
    '--data.val_samples',
    '3',
    '--backbone.architecture',
    'enet',
    '--device',
    'cpu',
    '--threads',
    '1',
]


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A barely trained network on synthetic scenes, BGR."""
    output = tmp_path_factory.mktemp('network')
    status = train.main(
        [
            *NETWORK,
            '--output',
            str(output),
            '--stages',
            'backbone',
            '--backbone.epochs',
            '20',
            '--backbone.validate_every',
            '20',
            '--backbone.phases',
            '[{"crop_width": 64, "crop_height": 64, "batch_size": 3}]',
        ]
    )
    assert status == 0
    return output / 'backbone.safetensors'


def attack(weights, output, *words):
    return attack_autoencoder.main(
        [
            'train',
            *NETWORK,
            '--weights',
            str(weights),
            '--output',
            str(output),
            '--psnr',
            '20',
            '--steps',
            '40',
            '--batch-size',
            '3',
            '--validate-every',
            '10',
            *words,
        ]
    )


def report(weights, attacker, output, *words):
    return attack_autoencoder.main(
        [
            'report',
            *NETWORK,
            '--weights',
            str(weights),
            '--attacker',
            str(attacker),
            '--output',
            str(output),
            *words,
        ]
    )


@pytest.mark.slow
def test_a_trained_attacker_is_reported_with_bars(weights, tmp_path, capsys):
    assert attack(weights, tmp_path) == 0
    record = json.loads((tmp_path / 'training.json').read_text())
    assert record['attack']['psnr'] == 20
    assert [row['step'] for row in record['history']] == [10, 20, 30, 40]
    check_graph(tmp_path / 'attacker.onnx')

    capsys.readouterr()
    attacker = tmp_path / 'attacker.safetensors'
    assert report(weights, attacker, tmp_path / 'report', '--protocol', 'void_ignored') == 0
    captured = capsys.readouterr()
    result = json.loads((tmp_path / 'report' / 'report.json').read_text())
    assert json.loads(captured.out)['psnr'] == result['psnr']
    # The file is for RGB, the network reads BGR: only turned round is it the attacker trained.
    best = min(row['miou'] for row in record['history'] if row['psnr'] >= 20)
    assert result['after']['miou'] == pytest.approx(100 * best, abs=0.01)
    assert result['psnr'] >= 20
    for name in (*result['before']['iou'], 'mean', 'fall %'):
        assert name in captured.err
    bars = cv2.imread(str(tmp_path / 'report' / 'iou.png'))
    assert bars is not None
    assert bars.std() > 10

    capsys.readouterr()
    assert (
        evaluate.main(
            [
                'segmentation',
                *NETWORK,
                '--weights',
                str(weights),
                '--split',
                'val',
                '--json',
                '-',
                '--protocol',
                'void_ignored',
            ]
        )
        == 0
    )
    assert result['before'] == {
        key: value
        for key, value in json.loads(capsys.readouterr().out).items()
        if key in result['before']
    }


@pytest.fixture
def without_onnx(monkeypatch):
    """One test has looked at the ONNX file; exporting takes the longest of all."""
    monkeypatch.setattr(attack_autoencoder, 'export_attacker', lambda *_: None)


@pytest.mark.slow
@pytest.mark.usefixtures('without_onnx')
def test_alternate_training_writes_the_hardened_victim(weights, tmp_path):
    before = weights.read_bytes()
    assert attack(weights, tmp_path, '--rounds', '1', '--victim-steps', '10') == 0
    assert weights.read_bytes() == before
    rows = json.loads((tmp_path / 'training.json').read_text())['rounds']
    assert [row['round'] for row in rows] == [0, 1]
    hardened = tmp_path / 'victim.safetensors'
    original = read_tensors(weights)
    changed = {k for k, v in read_tensors(hardened).items() if not torch.equal(v, original[k])}
    assert changed
    assert not any('running' in name for name in changed)
    assert report(hardened, tmp_path / 'attacker.safetensors', tmp_path / 'report') == 0


def test_apply_redraws_rgb_images_at_their_own_size(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / 'in').mkdir()
    images = {}
    for name, size in (('a.png', (20, 30)), ('b.bmp', (15, 17))):
        images[name] = rng.integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'in' / name), images[name][..., ::-1])
    torch.manual_seed(0)
    write_tensors(tmp_path / 'attacker.safetensors', MaliciousAutoencoder().state_dict())
    assert (
        attack_autoencoder.main(
            [
                'apply',
                '--attacker',
                str(tmp_path / 'attacker.safetensors'),
                '--images',
                str(tmp_path / 'in'),
                '--output',
                str(tmp_path / 'out'),
            ]
        )
        == 0
    )
    attacker = load_attacker(tmp_path / 'attacker.safetensors')
    values = json.loads((tmp_path / 'out' / 'psnr.json').read_text())
    lines = capsys.readouterr().out.splitlines()
    for name, image in images.items():
        stem = name.split('.')[0]
        written = cv2.imread(str(tmp_path / 'out' / f'{stem}.png'))[..., ::-1]
        expected = attacker(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        np.testing.assert_allclose(written, expected[0].permute(1, 2, 0).numpy(), atol=0.51)
        assert values[stem] == pytest.approx(cv2.PSNR(written, image), abs=1e-2)
        assert f'{stem}\t{values[stem]:.2f} dB' in lines
    assert not torch.equal(channels_reversed(attacker).encode.weight, attacker.encode.weight)


@pytest.mark.slow
@pytest.mark.usefixtures('without_onnx')
def test_resume_reads_what_is_done_and_refuses_another_aim(weights, tmp_path, monkeypatch, capsys):
    assert attack(weights, tmp_path) == 0
    first = (tmp_path / 'attacker.safetensors').read_bytes()
    (tmp_path / 'attacker.safetensors').unlink()
    monkeypatch.setattr(AutoencoderTraining, '_loss', None)
    assert attack(weights, tmp_path, '--resume') == 0
    assert (tmp_path / 'attacker.safetensors').read_bytes() == first
    capsys.readouterr()
    assert attack(weights, tmp_path, '--resume', '--psnr', '25') == 2
    assert 'other settings' in capsys.readouterr().err


@pytest.mark.parametrize(
    'words',
    [
        ['apply', '--attacker', 'NONE.safetensors', '--images', '.', '--output', 'out'],
        ['report', '--weights', 'NONE.pth', '--attacker', 'mal.pt', '--output', 'out'],
        ['train', *NETWORK, '--weights', 'NONE.pth', '--output', 'out', '--psnr', '20'],
        ['train', *NETWORK, '--weights', 'NONE.pth', '--output', 'out', '--psnr', '-3'],
        ['train', '--input.size', '4', '--weights', 'NONE.pth', '--output', 'out', '--psnr', '20'],
    ],
)
def test_mistakes_get_one_sentence(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert attack_autoencoder.main(words) == 2
    message = capsys.readouterr().err
    assert message.splitlines()[-1].startswith('error: ')


def test_images_are_never_overwritten(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 4, 3), np.uint8))
    write_tensors(tmp_path / 'attacker.safetensors', MaliciousAutoencoder().state_dict())
    assert (
        attack_autoencoder.main(
            [
                'apply',
                '--attacker',
                str(tmp_path / 'attacker.safetensors'),
                '--images',
                str(tmp_path),
                '--output',
                str(tmp_path),
            ]
        )
        == 2
    )
    assert 'another --output' in capsys.readouterr().err
    assert not cv2.imread(str(tmp_path / 'a.png')).any()
