"""Results of a comparison survive JSON exactly, and nothing else is read as one."""

from __future__ import annotations

import copy
import json

import pytest

from offline_training.compare.results import Comparison, Measurement
from offline_training.learning.store import StorageError

TABLE = {
    'title': 'miniature',
    'created': '2026-01-02T03:04:05+00:00',
    'version': '1.2.3',
    'network': {
        'architecture': 'espnet',
        'weights': 'some.pth',
        'size': [480, 360],
        'classes': ['sky', 'road'],
        'ms': 41.2,
        'device': 'cpu, 1 threads',
    },
    'detectors': [
        {
            'name': 'msp',
            'paper': 'Hendrycks & Gimpel, 2017',
            'inputs': 'logits',
            'passes': 1,
            'gradients': False,
            'exportable': True,
            'levels': ['pixel', 'frame'],
            'ms': None,
            'fit_seconds': 0.5,
            'skipped': None,
        }
    ],
    'sets': [
        {
            'name': 'ood',
            'title': 'ood',
            'level': 'pixel',
            'group': 'pixel',
            'protocol': 'positive = unknown',
            'frames': 4,
            'normal_frames': 0,
        }
    ],
    'results': [
        {
            'detector': 'msp',
            'set': 'ood',
            'measures': {'auroc': 0.9, 'auin': None},
            'intervals': {'auroc': [0.8, None]},
            'calibration': {'ece': 0.1, 'ace': None},
            'components': None,
            'flipped': False,
        }
    ],
    'segmentation': [
        {'name': 'clean', 'miou': 0.5, 'iou': {'sky': 0.8}, 'psnr': None, 'clean': None},
        {
            'name': 'fgsm',
            'miou': 0.2,
            'iou': {'sky': None},
            'psnr': 30.5,
            'clean': {'miou': 0.5, 'iou': {'sky': 0.75}},
        },
    ],
}
MEASUREMENT = {
    **{key: TABLE['results'][0][key] for key in ('measures', 'intervals', 'flipped')},
    'calibration': None,
    'components': {'siou': 0.5, 'ppv': None, 'f1': 0.25},
    'curves': {
        'roc': [[0.0, 0.0], [0.25, 0.75], [1.0, 1.0]],
        'pr': [[0.0, 1.0], [1.0, 0.5]],
        'histogram': {'edges': [-1.0, 0.0, 7.5], 'normal': [1.0, 0.0], 'anomalous': [0.0, 1.0]},
        'reliability': {'confidence': [None, 0.5], 'accuracy': [None, 1.0], 'samples': [0, 4]},
    },
}


@pytest.mark.parametrize(('kind', 'value'), [(Comparison, TABLE), (Measurement, MEASUREMENT)])
def test_json_is_exact(kind, value):
    record = kind.from_json(json.loads(json.dumps(value)), 'stored.json')
    text = json.dumps(record.to_json(), allow_nan=False)
    expected = value if kind is Comparison else {**value, 'frame_ap': []}
    assert text == json.dumps(expected)
    assert kind.from_json(json.loads(text), 'stored.json') == record


def places(value, path=()):
    """Yield the path of every mapping's key that names a field."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            if key not in ('measures', 'intervals', 'calibration', 'components', 'iou'):
                yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def holder(value, path):
    for step in path[:-1]:
        value = value[step]
    return value


@pytest.mark.parametrize('path', list(places(TABLE)), ids=lambda path: '.'.join(map(str, path)))
@pytest.mark.parametrize('change', ['missing', 'unknown', 'wrong type', 'not a number'])
def test_anything_else_is_refused_by_name(path, change):
    table = copy.deepcopy(TABLE)
    section, key = holder(table, path), path[-1]
    if change == 'missing':
        del section[key]
    elif change == 'unknown':
        section['surplus'] = section[key]
    else:
        section[key] = {'wrong': object()} if change == 'wrong type' else float('nan')
    with pytest.raises(StorageError, match=r'some/table\.json does not hold a Comparison'):
        Comparison.from_json(table, 'some/table.json')


@pytest.mark.parametrize('share', [-0.1, 1.1, float('nan'), '0.5'])
def test_a_measure_is_a_share(share):
    wrong = {**MEASUREMENT, 'measures': {'auroc': share}}
    with pytest.raises(StorageError, match=r'measures'):
        Measurement.from_json(wrong, 'stored.json')
