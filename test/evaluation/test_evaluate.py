from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from support.painted_world import anomalies, grey_cutouts, magenta_cutouts, normal_drive
from support.tiny_bundle import channel, make_tiny_bundle

from offline_training import evaluate
from offline_training.evaluation.drives import poisson_interval
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.frame import Frame
from ros2_ood_monitor.inference.runner import Runner


@pytest.fixture
def images(tmp_path):
    """Two images with and one without the patch, the rim of the patch ignored."""
    return anomalies(tmp_path)


def run(bundle, images, capsys, *more):
    words = ['anomaly', '--bundle', str(bundle), '--data-dir', str(images), '--json', '-']
    status = evaluate.main([*words, '--backend', 'onnxruntime', *more])
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


def test_objects_are_found_by_published_regions_and_by_held_views(
    tiny_bundle, images, tmp_path, capsys
):
    normal = normal_drive(tmp_path / 'normal', 4)
    status, captured = run(tiny_bundle, images, capsys, '--normal', str(normal))
    assert status == 0
    report = json.loads(captured.out)
    (point,) = report['objects'].values()
    assert point['threshold'] == 0.5
    assert point['all'] == point['by_size']['> 4.5 %']
    assert point['all']['objects'] == 2
    assert point['all']['touched'] == point['all']['boxed_half_of_touched'] == 100
    assert point['by_size']['< 2 %']['touched'] is None
    assert point['false_regions_per_frame'] == 0
    # One of the three images shows nothing.
    assert report['held_views']['left_nominal'] == pytest.approx(200 / 3)
    assert report['normal']['with_a_region'] == {'strict': 0}
    assert report['normal']['held_views']['left_nominal'] == 0
    assert max(map(len, captured.err.splitlines())) <= 80


def test_a_sensitive_operating_point_is_measured_beside_the_strict_one(tmp_path, capsys):
    regions = {'threshold': 0.999, 'min_area': 4, 'sensitive_threshold': 0.5}
    bundle = make_tiny_bundle(tmp_path / 'bundle', {'object': channel(regions=regions)})
    status, captured = run(bundle, anomalies(tmp_path / 'set'), capsys)
    assert status == 0
    points = json.loads(captured.out)['objects']
    assert {name: point['threshold'] for name, point in points.items()} == {
        'strict': 0.999,
        'sensitive': 0.5,
    }
    assert points['sensitive']['all']['touched'] == 100
    assert points['sensitive']['all']['covered_50'] >= points['strict']['all']['covered_50']


def test_events_state_distance_delay_and_every_assumption(tiny_bundle, tmp_path, capsys):
    words = ['events', '--bundle', str(tiny_bundle), '--backend', 'onnxruntime', '--count', '2']
    words += ['--drive', str(normal_drive(tmp_path / 'drive', 60)), '--start', '12', '--json', '-']
    assert evaluate.main([*words, '--objects', str(magenta_cutouts(tmp_path / 'magenta'))]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report['alert']['found'] == report['alert']['of'] == 2
    assert report['alert']['median_distance_m'] < 12
    assert report['assumed']['start'] == 12
    assert report['assumed']['focal'] == 64
    assert report['assumed']['frame_rate'] == 10
    assert report['drive']['alarms_without_objects_s'] == []
    assert max(map(len, captured.err.splitlines())) <= 80
    assert evaluate.main([*words, '--objects', str(grey_cutouts(tmp_path / 'grey'))]) == 0
    assert json.loads(capsys.readouterr().out)['alert']['found'] == 0


def test_views_of_all_kinds_are_held_and_named(tiny_bundle, images, tmp_path, capsys):
    drive = normal_drive(tmp_path / 'drive', 3)
    words = ['views', '--bundle', str(tiny_bundle), '--backend', 'onnxruntime', '--views', '2']
    words += ['--data', str(drive), '--foreign', f'moon={images / "images"}', '--json', '-']
    assert evaluate.main(words) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    rows = {row['kind']: row for row in report['kinds']}
    assert len(rows) == 15 + 3
    assert all(row['views'] == 2 for row in rows.values())
    assert rows['clean']['left_nominal'] == 0
    # Of the first and the last image one shows the patch.
    assert rows['moon']['left_nominal'] == 50
    assert report['groups']['unseen']['kinds'] == 8
    assert 'sensor noise' in report['protocol']
    assert max(map(len, captured.err.splitlines())) <= 80


def test_safety_adds_up_and_states_its_return_functions(tiny_bundle, images, tmp_path, capsys):
    drive = normal_drive(tmp_path / 'drive', 2)
    words = ['safety', '--bundle', str(tiny_bundle), '--backend', 'onnxruntime', '--views', '2']
    words += ['--data', str(drive), '--anomalies', str(images), '--hazard-share', '0.2']
    assert evaluate.main([*words, '--json', '-']) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    rows = {row['part']: row for row in report['parts']}
    assert set(rows) == {'object', 'input checks', 'all together'}
    for row in rows.values():
        assert row['safety_gain'] + row['residual_hazard'] == pytest.approx(0.2)
        assert row['safety_gain'] <= rows['all together']['safety_gain']
        assert row['availability_cost'] == 0
    assert rows['object']['safety_gain_on']['objects'] == pytest.approx(0.5)
    assert 'c is how far CAUTION slows down' in report['returns']
    assert max(map(len, captured.err.splitlines())) <= 80


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['--foreign', 'nothing'], 'NAME=FOLDER'),
        (['--foreign', 'moon=/nowhere'], '/nowhere'),
    ],
)
def test_a_wrong_foreign_folder_gets_one_sentence(tiny_bundle, tmp_path, capsys, words, sentence):
    drive = normal_drive(tmp_path / 'drive', 1)
    given = ['views', '--bundle', str(tiny_bundle), '--data', str(drive), *words]
    assert evaluate.main([*given, '--backend', 'onnxruntime']) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count('\n') == 1


def test_hours_of_painted_driving_are_counted(tiny_bundle, capsys):
    """Painted streets are nothing that the toy bundle knows: every drive is an alarm."""
    words = ['drives', '--bundle', str(tiny_bundle), '--backend', 'onnxruntime', '--json', '-']
    assert evaluate.main([*words, '--hours', '0.005', '--minutes', '0.1']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['drives'] == 3
    assert report['hours'] == pytest.approx(0.005)
    assert report['alarms'] >= 3
    assert report['per_hour'] == pytest.approx(report['alarms'] / 0.005)
    low, high = report['interval']
    assert low < report['per_hour'] < high
    assert sum(report['frames'].values()) == 180
    assert report['stated_per_hour'] == 1.0


@pytest.mark.parametrize(
    ('count', 'low', 'high'), [(0, 0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)]
)
def test_the_interval_is_that_of_the_tables(count, low, high):
    """Garwood's, as in Ulm, 1990."""
    assert poisson_interval(count) == pytest.approx((low, high), abs=1e-4)
