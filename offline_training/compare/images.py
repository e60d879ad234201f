"""Images for the report: attacked frames, and the frames a set's best detector did best on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
import torch

from offline_training.compare.experiment import Experiment
from offline_training.compare.measure_all import Results
from offline_training.compare.report.html_page import Panel
from offline_training.compare.results import Measurement
from offline_training.compare.scoring import StoredScores
from offline_training.compare.source import Source, SourceFrame
from offline_training.compare.sources import Sources
from offline_training.compare.truth import Question
from offline_training.data.base import VOID, labels_at_size
from offline_training.watched.prediction import predict_labels
from ros2_ood_monitor.frame import Float32Array, UInt8Array

BEST_DETECTORS = 4
"""Maps shown beside each frame."""
EXTREMES = 2
"""Best, and worst, frames shown of each set."""
SOURCES_PER_PANEL = 3
"""Perturbations or attacks side by side."""
ATTACK_FRAME = 0.4
"""Position in the normal source of the frame on which attacks and perturbations are shown."""
QUANTILES = (0.02, 0.995)
"""Range of a map's colours, as quantiles of its scores over all frames of a set."""


def all_panels(
    experiment: Experiment,
    sources: Sources,
    questions: Sequence[Question],
    results: Results,
    stored: StoredScores,
) -> list[Panel]:
    """Return the images of the report: disturbed frames, then the best and worst of every set."""
    panels = _disturbed_panels(experiment, sources.normal, sources.disturbed)
    by_name = {source.name: source for source in sources.scored}
    for question in questions:
        # Errors without void would show the same frames once more.
        if question.level == 'pixel' and not question.name.endswith('_no_void'):
            source = by_name[question.source]
            panels += _extreme_panels(experiment, source, question, results[question.name], stored)
    return panels


def _disturbed_panels(
    experiment: Experiment, normal: Source, disturbed: Sequence[Source]
) -> list[Panel]:
    """Show one frame under every perturbation and attack, and how the network segments it."""
    panels = []
    for start in range(0, len(disturbed), SOURCES_PER_PANEL):
        images = []
        for source in disturbed[start : start + SOURCES_PER_PANEL]:
            frame = source.read(round(ATTACK_FRAME * (source.count - 1)))
            likeness = '' if frame.psnr is None else f', {frame.psnr:.1f} dB'
            images += _pair(experiment, f'{source.name}{likeness}', frame)
        panels.append(Panel('', '', images, 'attacks'))
    if not panels:
        return []
    reference = normal.read(round(ATTACK_FRAME * (normal.count - 1)))
    images = _pair(experiment, 'image', reference)
    return [Panel('undisturbed', reference.name, images, 'attacks'), *panels]


def _extreme_panels(
    experiment: Experiment,
    source: Source,
    question: Question,
    results: Mapping[str, Measurement],
    stored: StoredScores,
) -> list[Panel]:
    """Show the frames of a set on which its best detector did best and worst.

    `results` are those of this set by detector. Maps share one range of colours over the set.
    """
    ranked = sorted(
        results, key=lambda name: results[name].measures['aupr_anomaly'] or 0, reverse=True
    )
    if not ranked:
        return []
    precision = {
        index: value
        for index, value in enumerate(results[ranked[0]].frame_ap)
        if value is not None
    }
    counted = sorted(precision, key=precision.__getitem__, reverse=True)
    shown = {name: stored.maps(source, name) for name in ranked[:BEST_DETECTORS]}
    predictions = stored.predictions(source)
    panels = []
    count = min(EXTREMES, len(counted) // 2)
    kinds: tuple[tuple[Literal['best', 'worst'], list[int]], ...] = (
        ('best', counted[:count]),
        ('worst', counted[::-1][:count]),
    )
    for kind, indices in kinds:
        for index in indices:
            frame = source.read(index)
            size = frame.image.shape[:2]
            images = [
                ('image', _rgb(experiment, frame.image)),
                ('truth', _truth(labels_at_size(question.truth[index], size))),
                ('segmentation', _colors(experiment, labels_at_size(predictions[index], size))),
            ]
            images += [(name, _heat(maps, index, size)) for name, maps in shown.items()]
            panels.append(
                Panel(
                    f'{question.name}: {kind}',
                    f'{frame.name}, AP of {ranked[0]} {100 * precision[index]:.1f} %',
                    images,
                    kind,
                )
            )
    return panels


def _pair(experiment: Experiment, label: str, frame: SourceFrame) -> list[tuple[str, UInt8Array]]:
    """Return a frame and how the network segments it, with their labels."""
    watched = experiment.watched
    with torch.inference_mode():
        labels = predict_labels(
            watched.network, watched.normalize, frame.image, watched.num_classes
        )
    return [
        (label, _rgb(experiment, frame.image)),
        ('segmentation', _colors(experiment, labels)),
    ]


def _rgb(experiment: Experiment, image: UInt8Array) -> UInt8Array:
    if experiment.config.input.color_order == 'bgr':
        image = image[..., ::-1]
    return np.ascontiguousarray(image)


def _colors(experiment: Experiment, labels: UInt8Array) -> UInt8Array:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(experiment.palette)] = experiment.palette
    return table[labels]


def _truth(truth: UInt8Array) -> UInt8Array:
    """Anomalous pixels white, normal ones dark, ignored ones grey."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[0], table[1], table[VOID] = (30, 30, 40), (255, 255, 255), (110, 110, 120)
    return table[truth]


def _heat(maps: Float32Array, index: int, size: tuple[int, int]) -> UInt8Array:
    low, high = np.quantile(maps[:: max(1, len(maps) // 50)], QUANTILES)
    share = np.clip((maps[index] - low) / max(high - low, 1e-12), 0, 1)
    rows, columns = size
    share = cv2.resize(share, (columns, rows), interpolation=cv2.INTER_LINEAR)
    colored = cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colored[..., ::-1], dtype=np.uint8)
