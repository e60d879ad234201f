from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from support.tiny_bundle import anomaly_image, normal_image

from offline_training import evaluate
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import Frame
from ros2_ood_monitor.inference.runner import Runner


@pytest.fixture
def images(tmp_path):
    """Two images with and one without the patch, the rim of the patch ignored."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels_masks').mkdir()
    for index in range(3):
        image = normal_image(index) if index == 2 else anomaly_image(index)
        mask = np.zeros(image.shape[:2], dtype=np.uint8)
        if index < 2:
            mask[12:36, 20:48] = 255
            mask[16:32, 24:44] = 1
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.png'), image[..., ::-1])
        cv2.imwrite(str(tmp_path / 'labels_masks' / f'{index}.png'), mask)
    return tmp_path


def run(bundle, images, capsys):
    status = evaluate.main(
        [
            'anomaly',
            '--bundle',
            str(bundle),
            '--data-dir',
            str(images),
            '--json',
            '-',
            '--backend',
            'onnxruntime',
        ]
    )
    captured = capsys.readouterr()
    return status, captured


def test_the_fused_map_is_measured_as_published(tiny_bundle, images, capsys):
    status, captured = run(tiny_bundle, images, capsys)
    assert status == 0
    report = json.loads(captured.out)
    scores, truths = [], []
    with Runner(ModelBundle.load(tiny_bundle), 'onnxruntime') as runner:
        for path in sorted((images / 'images').iterdir()):
            image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            mask = cv2.imread(str(images / 'labels_masks' / path.name), cv2.IMREAD_UNCHANGED)
            published = runner.infer(Frame(image)).anomaly_map
            scores.append(published[mask != 255])
            truths.append(mask[mask != 255] == 1)
    score, truth = np.concatenate(scores), np.concatenate(truths)
    assert report['ap'] == pytest.approx(100 * average_precision_score(truth, score), abs=0.05)
    assert report['auroc'] == pytest.approx(100 * roc_auc_score(truth, score), abs=0.05)
    assert set(report['maps']) == {'energy', 'density', 'unknown', 'error'}
    assert all(set(m) == {'ap', 'fpr95', 'auroc'} for m in report['maps'].values())
    assert report['images'] == 3


def test_a_map_that_points_the_wrong_way_is_warned_about(tiny_bundle, images, capsys):
    for path in (images / 'labels_masks').iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(mask == 255, mask, 1 - mask).astype(np.uint8))
    status, captured = run(tiny_bundle, images, capsys)
    assert status == 0
    assert json.loads(captured.out)['auroc'] < 50
    assert 'sign flipped?' in captured.err


def test_a_missing_bundle_or_folder_gets_one_sentence(tiny_bundle, images, tmp_path, capsys):
    assert run(tmp_path / 'none', images, capsys)[0] == 2
    status, captured = run(tiny_bundle, tmp_path / 'none', capsys)
    assert status == 2
    assert captured.err.startswith('error: ')
    assert captured.err.count('\n') == 1


def test_writing_to_a_file_is_the_same_report(tiny_bundle, images, tmp_path, capsys):
    target = tmp_path / 'deep' / 'report.json'
    status = evaluate.main(
        [
            'anomaly',
            '--bundle',
            str(tiny_bundle),
            '--data-dir',
            str(images),
            '--json',
            str(target),
            '--backend',
            'onnxruntime',
        ]
    )
    assert status == 0
    assert capsys.readouterr().out == ''
    assert json.loads(target.read_text())['protocol'].startswith('positive = anomaly')
