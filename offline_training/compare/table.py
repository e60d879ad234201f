"""The table of a comparison as plain values, as written to table.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from offline_training.compare.config import CompareConfig
from offline_training.compare.fitting import Fitted
from offline_training.compare.scoring import NETWORK
from offline_training.compare.truth import Question
from offline_training.compare.watching import Experiment
from offline_training.detectors import DETECTORS
from offline_training.measures.segmentation import ConfusionMatrix
from ros2_ood_monitor import __version__

MEASURED = ('measures', 'intervals', 'calibration', 'components', 'flipped')


def comparison_table(
    config: CompareConfig,
    experiment: Experiment,
    fitted: Mapping[str, Fitted],
    cost: Mapping[str, float],
    questions: Sequence[Question],
    results: Mapping[str, Mapping[str, Mapping[str, Any]]],
    facts: Mapping[str, Mapping[str, Any]],
    undisturbed: Mapping[str, ConfusionMatrix],
) -> dict[str, Any]:
    """Return network, detectors, sets, results and segmentation; times in ms, measures in 0..1.

    `undisturbed` counts, for every disturbed source, the same frames before they were disturbed.
    """
    size = experiment.config.input
    counts = {name: len(each['names']) for name, each in facts.items()}
    return {
        'title': config.name,
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'version': __version__,
        'network': {
            'architecture': experiment.config.backbone.architecture,
            'weights': experiment.weights,
            'size': [size.width, size.height],
            'classes': list(experiment.class_names),
            'ms': cost[NETWORK],
            'device': f'{experiment.watched.device}, {torch.get_num_threads()} threads',
        },
        'detectors': [
            _row(name, config.detectors[name].detector, each, cost.get(name))
            for name, each in fitted.items()
        ],
        'sets': [
            {
                'name': question.name,
                'title': question.name.replace('_', ' '),
                'level': question.level,
                'group': question.heading,
                'protocol': question.protocol,
                'frames': counts[question.source],
                'normal_frames': counts['normal'] if question.level == 'frame' else 0,
            }
            for question in questions
        ],
        'results': [
            {'detector': name, 'set': question.name, **{key: result[key] for key in MEASURED}}
            for question in questions
            for name, result in results[question.name].items()
        ],
        'segmentation': [
            _segmentation('clean', facts['normal'], experiment.class_names),
            *(
                {
                    **_segmentation(name, facts[name], experiment.class_names),
                    'clean': _iou(undisturbed[name], experiment.class_names),
                }
                for name in (*config.perturbations.names, *config.attacks)
            ),
        ],
    }


def _row(name: str, kind: str, fitted: Fitted, ms: float | None) -> dict[str, Any]:
    # A fitted detector may cost more than its class says, with gradients it has chosen to take.
    spec = (fitted.detector or DETECTORS[kind]()).spec
    return {
        'name': name,
        'paper': spec.paper,
        'inputs': spec.inputs,
        'passes': spec.passes,
        'gradients': spec.gradients,
        'exportable': spec.exportable,
        'levels': list(spec.levels),
        'ms': ms,
        'fit_seconds': fitted.seconds,
        'skipped': fitted.skipped,
    }


def _segmentation(
    name: str, facts: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, Any]:
    matrix = ConfusionMatrix(len(class_names))
    matrix.counts = np.array(facts['confusion'], dtype=np.int64)
    return {'name': name, **_iou(matrix, class_names), 'psnr': facts['psnr'], 'clean': None}


def _iou(matrix: ConfusionMatrix, class_names: Sequence[str]) -> dict[str, Any]:
    """Return IoU per class with void as false positive, as the ESPNet paper counts."""
    iou = {
        each: None if np.isnan(value) else float(value)
        for each, value in zip(class_names, matrix.iou(), strict=True)
    }
    return {'miou': matrix.miou(), 'iou': iou}
