"""Measure every row on every set from its stored scores; what is measured and fits is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rich.progress import Progress

from offline_training.compare.config import CompareConfig
from offline_training.compare.measuring import (
    CALLED,
    Probability,
    error_probability,
    measure_frames,
    measure_pixels,
)
from offline_training.compare.results import Measurement
from offline_training.compare.scoring import NETWORK, StoredScores
from offline_training.compare.sources import Sources
from offline_training.compare.truth import Question, frame_question, pixel_questions
from offline_training.detectors.base import Detector
from ros2_ood_monitor import __version__
from ros2_ood_monitor.bundle.store import Entry, fingerprint

Results = Mapping[str, Mapping[str, Measurement]]
"""What was measured, by set and row."""


def measure_all(
    config: CompareConfig,
    sources: Sources,
    detectors: Mapping[str, Detector],
    stored: StoredScores,
    num_classes: int,
    folder: Path,
    bars: Progress,
) -> tuple[Sequence[Question], Results]:
    """Return what is asked of the scores, and the answers, which are stored in `folder`.

    Raises:
        DataError: a set has no anomalous or no normal samples.
        StorageError: a stored answer is not in the form of this version.
    """
    normal, by_name = sources.normal, {source.name: source for source in sources.scored}

    def questions_of(name: str) -> list[Question]:
        source = by_name[name]
        return pixel_questions(source, lambda: stored.predictions(source), num_classes)

    # Void is left out: it is no class, so its pixels tell nothing of a prediction.
    on_val = questions_of(sources.val.name)[-1]

    @cache
    def probability(name: str) -> Probability | None:
        return error_probability(on_val, stored.maps(sources.val, name), config.seed)

    def measure(question: Question, name: str) -> Measurement:
        source = by_name[question.source]
        if question.level == 'frame':
            positive, negative, val = (
                stored.frames(each, name) for each in (source, normal, sources.val)
            )
            return measure_frames(question, positive, negative, val, config.resamples, config.seed)
        calibrate = probability(name) if question.heading == 'errors' else None
        maps = stored.maps(source, name)
        return measure_pixels(question, maps, calibrate, config.resamples, config.seed)

    def made_from(question: Question, name: str) -> dict[str, Any]:
        source = by_name[question.source]
        if question.level == 'frame':
            read = (source, normal, sources.val)
            frames = {each.name: stored.entry(each, name).value() for each in read}
            scores = {each: fingerprint(value) for each, value in frames.items()}
        else:
            entries = {'maps': stored.entry(source, name)}
            if question.heading == 'errors':
                entries['network'] = stored.entry(source, NETWORK)
                entries['val maps'] = stored.entry(sources.val, name)
                entries['network on val'] = stored.entry(sources.val, NETWORK)
            scores = {each: entry.digest() for each, entry in entries.items()}
        return {
            'source': source.properties,
            'scores': scores,
            'resamples': config.resamples,
            'seed': config.seed,
            'called': CALLED,
            'version': __version__,
        }

    questions = [
        *(each for source in (normal, *sources.images) for each in questions_of(source.name)),
        *(frame_question(source, normal) for source in (*sources.images, *sources.disturbed)),
    ]
    results: dict[str, dict[str, Measurement]] = {question.name: {} for question in questions}
    for question in questions:
        for name in bars.track(list(detectors), description=f'measuring {question.name}'):
            if question.level == 'pixel' and not detectors[name].has_map:
                continue
            entry = Entry(folder / question.name, name, made_from(question, name))
            if entry.why_not() is not None:
                entry.record(measure(question, name).to_json())
            results[question.name][name] = Measurement.from_json(entry.value(), entry.note)
    return questions, results
