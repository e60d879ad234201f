"""The results of a comparison, from its settings and from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from offline_training.compare.config import CompareConfig
from offline_training.compare.experiment import Experiment
from offline_training.compare.fitting import Fitted
from offline_training.compare.results import (
    Comparison,
    DetectorFacts,
    Iou,
    Measurement,
    NetworkFacts,
    Result,
    Segmentation,
    SetFacts,
)
from offline_training.compare.scoring import NETWORK
from offline_training.compare.truth import Question
from offline_training.detectors import DETECTORS
from offline_training.measures.segmentation import ConfusionMatrix
from ros2_ood_monitor import __version__


def comparison_table(
    config: CompareConfig,
    experiment: Experiment,
    fitted: Mapping[str, Fitted],
    cost: Mapping[str, float],
    questions: Sequence[Question],
    results: Mapping[str, Mapping[str, Measurement]],
    facts: Mapping[str, Mapping[str, Any]],
    undisturbed: Mapping[str, ConfusionMatrix],
) -> Comparison:
    """Return everything that table.json holds.

    `results` are by question and detector. `undisturbed` counts, for every disturbed source, the
    same frames before they were disturbed.
    """
    size = experiment.config.input
    counts = {name: len(each['names']) for name, each in facts.items()}
    class_names = experiment.class_names

    def segmentation(name: str, clean: ConfusionMatrix | None) -> Segmentation:
        matrix = ConfusionMatrix(len(class_names))
        matrix.counts = np.array(facts[name]['confusion'], dtype=np.int64)
        return Segmentation(
            name if clean else 'clean',
            matrix.miou(),
            _iou(matrix, class_names),
            facts[name]['psnr'],
            Iou(clean.miou(), _iou(clean, class_names)) if clean else None,
        )

    return Comparison(
        title=config.name,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        version=__version__,
        network=NetworkFacts(
            experiment.config.backbone.architecture,
            experiment.weights,
            (size.width, size.height),
            tuple(class_names),
            cost[NETWORK],
            f'{experiment.watched.device}, {torch.get_num_threads()} threads',
        ),
        detectors=tuple(
            _detector(name, config.detectors[name].detector, each, cost.get(name))
            for name, each in fitted.items()
        ),
        sets=tuple(
            SetFacts(
                question.name,
                question.name.replace('_', ' '),
                question.level,
                question.heading,
                question.protocol,
                counts[question.source],
                counts['normal'] if question.level == 'frame' else 0,
            )
            for question in questions
        ),
        results=tuple(
            Result(
                name,
                question.name,
                one.measures,
                one.intervals,
                one.calibration,
                one.components,
                one.flipped,
            )
            for question in questions
            for name, one in results[question.name].items()
        ),
        segmentation=(
            segmentation('normal', None),
            *(
                segmentation(name, undisturbed[name])
                for name in (*config.perturbations.names, *config.attacks)
            ),
        ),
    )


def _detector(name: str, kind: str, fitted: Fitted, ms: float | None) -> DetectorFacts:
    # A fitted detector may cost more than its class says, with gradients it has chosen to take.
    spec = (fitted.detector or DETECTORS[kind]()).spec
    return DetectorFacts(
        name,
        spec.paper,
        spec.inputs,
        spec.passes,
        spec.gradients,
        spec.exportable,
        spec.levels,
        ms,
        fitted.seconds,
        fitted.skipped,
    )


def _iou(matrix: ConfusionMatrix, class_names: Sequence[str]) -> dict[str, float | None]:
    """Return IoU per class with void as false positive, as the ESPNet paper counts."""
    return {
        each: None if np.isnan(value) else float(value)
        for each, value in zip(class_names, matrix.iou(), strict=True)
    }
