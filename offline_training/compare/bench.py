"""Every detector on every set: fit, judge, measure, report; each step continues where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from offline_training.compare.attack import Victim
from offline_training.compare.config import CompareConfig
from offline_training.compare.cost import measure_cost
from offline_training.compare.fitting import build_all, fit_all
from offline_training.compare.images import disturbed_panels, extreme_panels
from offline_training.compare.measuring import (
    Probability,
    error_probability,
    measure_frames,
    measure_pixels,
)
from offline_training.compare.report.html_page import write_report
from offline_training.compare.report.markdown import table_markdown
from offline_training.compare.report.panels import Panel
from offline_training.compare.results import Comparison, Measurement
from offline_training.compare.run_detectors import run_digest
from offline_training.compare.scoring import confusion, judge, read_predictions, read_scores
from offline_training.compare.sources import (
    Source,
    attacked_source,
    image_source,
    perturbed_source,
)
from offline_training.compare.table import comparison_table
from offline_training.compare.truth import Question, frame_question, pixel_questions
from offline_training.compare.watching import Experiment, open_experiment, training_frames
from offline_training.data.frames import Frames
from offline_training.detectors.base import Detector
from offline_training.learning.progress import progress
from offline_training.learning.store import keep_settings, read_json, write_json, write_text
from offline_training.measures.segmentation import ConfusionMatrix

Results = dict[str, dict[str, Measurement]]
"""What was measured, by set and detector."""


@dataclass(frozen=True, eq=False)
class Sources:
    """All frames of a comparison."""

    train: Callable[[], Frames]
    """Reads the frames that detectors and attacks learn from, once."""
    val: Source
    normal: Source
    images: Sequence[Source]
    disturbed: Sequence[Source]

    @property
    def judged(self) -> list[Source]:
        """Return all but the frames that detectors learn from."""
        return [self.normal, self.val, *self.images, *self.disturbed]


def run_comparison(
    config: CompareConfig,
    folder: Path,
    data_root: Path,
    output: Path,
    run: Path | None,
    console: Console,
) -> Comparison:
    """Write table.json, table.md and report.html to `output` and return the results.

    `folder` is what `config.experiment` is relative to. Whatever `output` holds from an earlier
    call is used and not done again.

    Raises:
        ConfigError, DataError, StorageError: the configuration, the data or stored files are not
            usable; the message says what to do.
    """
    experiment = open_experiment(config, folder, data_root, run)
    sources = _open_sources(config, experiment, data_root, output)
    built = build_all(config.detectors)
    _check_basis(config, experiment, output / 'basis.json')
    fitted = fit_all(
        config.detectors, built, experiment, sources.train, output / 'detectors', console
    )
    detectors = {name: each.detector for name, each in fitted.items() if each.detector}
    scores = output / 'scores'
    with progress(console) as bars:
        for source in sources.judged:
            judge(
                source,
                detectors,
                experiment.watched,
                scores / source.name,
                config.map_stride,
                bars,
            )
        cost = measure_cost(
            detectors, experiment.watched, sources.normal, output / 'cost.json', bars
        )
    questions, results = _measure(config, experiment, sources, detectors, output, console)
    facts = {
        source.name: read_json(scores / source.name / 'network.json') for source in sources.judged
    }
    table = comparison_table(
        config,
        experiment,
        fitted,
        cost,
        questions,
        results,
        facts,
        _undisturbed(sources, scores, len(experiment.class_names)),
    )
    curves = {
        name: {detector: result.curves for detector, result in by_detector.items()}
        for name, by_detector in results.items()
    }
    write_json(output / 'table.json', table.to_json())
    write_text(output / 'table.md', table_markdown(table))
    write_report(
        output / 'report.html',
        table,
        curves,
        _panels(experiment, sources, questions, results, scores),
    )
    return table


def _check_basis(config: CompareConfig, experiment: Experiment, path: Path) -> None:
    """Refuse an `output` that was filled with another network, training set or measuring."""
    digest = hashlib.sha256()
    for name, tensor in sorted(experiment.watched.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    basis = {
        'network': digest.hexdigest(),
        'input': asdict(experiment.config.input),
        'run': None if experiment.run is None else run_digest(experiment.run),
        'train': {**asdict(config.train), 'every': config.train_every},
        'seed': config.seed,
        'resamples': config.resamples,
    }
    keep_settings(path, basis, 'a comparison')


def _open_sources(
    config: CompareConfig, experiment: Experiment, data_root: Path, output: Path
) -> Sources:
    settings = experiment.config
    open_images = partial(image_source, root=data_root, config=settings)
    train = cache(
        partial(
            training_frames,
            open_images('train', 'normal', config.train, every=config.train_every),
        )
    )
    val = open_images('val', 'normal', config.val, every=config.val_every)
    normal = open_images('normal', 'normal', config.normal)
    strength = config.perturbations
    perturbed = [
        perturbed_source(
            name,
            normal,
            strength.severity,
            strength.every,
            config.seed,
            bgr=settings.input.color_order == 'bgr',
        )
        for name in strength.names
    ]
    attacked = [
        attacked_source(
            name,
            normal,
            each,
            Victim(
                experiment.watched,
                settings,
                experiment.class_names,
                train,
                partial(training_frames, val),
                output / 'attacks',
                name,
                config.seed,
            ),
        )
        for name, each in config.attacks.items()
    ]
    return Sources(
        train,
        val,
        normal,
        [open_images(name, 'objects', each) for name, each in config.images.items()],
        [*perturbed, *attacked],
    )


def _measure(
    config: CompareConfig,
    experiment: Experiment,
    sources: Sources,
    detectors: Mapping[str, Detector],
    output: Path,
    console: Console,
) -> tuple[list[Question], Results]:
    """Measure what is not measured yet, from the stored scores."""
    scores = output / 'scores'
    classes = len(experiment.class_names)

    def questions_of(source: Source) -> list[Question]:
        return pixel_questions(source, lambda: read_predictions(scores / source.name), classes)

    # Void is left out: it is no class, so its pixels tell nothing of a prediction.
    on_val = questions_of(sources.val)[-1]

    @cache
    def probability(name: str) -> Probability | None:
        maps = read_scores(scores / 'val', name)[1]
        return None if maps is None else error_probability(on_val, maps, config.seed)

    def pixels(question: Question, name: str) -> dict[str, Any]:
        maps = read_scores(scores / question.source, name)[1]
        assert maps is not None
        calibrate = probability(name) if question.heading == 'errors' else None
        return measure_pixels(question, maps, calibrate, config.resamples, config.seed)

    def frames(question: Question, name: str) -> dict[str, Any]:
        positive, negative = (
            read_scores(scores / source, name)[0]
            for source in (question.source, sources.normal.name)
        )
        return measure_frames(question, positive, negative, config.resamples, config.seed)

    questions = [
        *(each for source in [sources.normal, *sources.images] for each in questions_of(source)),
        *(
            frame_question(source, sources.normal)
            for source in [*sources.images, *sources.disturbed]
        ),
    ]
    results: Results = {question.name: {} for question in questions}
    with progress(console) as bars:
        for question in questions:
            measure = pixels if question.level == 'pixel' else frames
            for name in bars.track(list(detectors), description=f'measuring {question.name}'):
                if question.level == 'pixel' and not detectors[name].has_map:
                    continue
                path = output / 'measures' / question.name / f'{name}.json'
                if not _up_to_date(
                    path,
                    [
                        scores / source / f'{name}.safetensors'
                        for source in (question.source, sources.normal.name, sources.val.name)
                    ],
                ):
                    write_json(path, measure(question, name))
                results[question.name][name] = Measurement.from_json(read_json(path), path)
    return questions, results


def _undisturbed(sources: Sources, scores: Path, num_classes: int) -> dict[str, ConfusionMatrix]:
    """Return what the network says of the scenes of every disturbed source before that."""
    predictions = read_predictions(scores / sources.normal.name)
    count = cache(partial(confusion, sources.normal, predictions, num_classes))
    return {source.name: count(source.settings['every']) for source in sources.disturbed}


def _up_to_date(path: Path, made_from: Sequence[Path]) -> bool:
    """Return whether a file is there and not older than what it was made from."""
    return path.is_file() and path.stat().st_mtime >= max(
        each.stat().st_mtime for each in made_from
    )


def _panels(
    experiment: Experiment,
    sources: Sources,
    questions: Sequence[Question],
    results: Results,
    scores: Path,
) -> list[Panel]:
    panels = disturbed_panels(experiment, sources.normal, sources.disturbed)
    by_name = {source.name: source for source in sources.judged}
    for question in questions:
        # Errors without void would show the same frames once more.
        if question.level == 'pixel' and not question.name.endswith('_no_void'):
            panels += extreme_panels(
                experiment,
                by_name[question.source],
                question,
                results[question.name],
                scores / question.source,
            )
    return panels
