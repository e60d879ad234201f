"""A whole comparison: open, fit, score, measure, report. What is stored and still fits is kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rich.console import Console

from offline_training.compare.config import CompareConfig
from offline_training.compare.cost import measure_cost
from offline_training.compare.experiment import Experiment
from offline_training.compare.fitting import build_all, fit_all
from offline_training.compare.images import all_panels
from offline_training.compare.measure_all import measure_all
from offline_training.compare.report.html_page import report_html
from offline_training.compare.report.markdown import table_markdown
from offline_training.compare.results import Comparison
from offline_training.compare.scoring import StoredScores, confusion, score_source
from offline_training.compare.sources import Sources, open_sources
from offline_training.compare.table import comparison_table
from offline_training.learning.progress import progress
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import write_json, write_text
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import (
    SEGMENTATION_SETS,
    Context,
    choose_device,
    watched_network,
)
from offline_training.watched.base import Watched


def run_comparison(
    config: CompareConfig,
    folder: Path,
    data_root: Path,
    output: Path,
    run: Path | None,
    console: Console,
) -> Comparison:
    """Write table.json, table.md and report.html to `output` and return the results.

    `folder` is what `config.experiment` is relative to. What `output` holds from an earlier call
    is used where all that it was made from is the same.

    Raises:
        ConfigError, DataError, StorageError: the configuration, the data or stored files are not
            usable; the message says what to do.
    """
    experiment = _open_experiment(config, folder, data_root, run)
    sources = open_sources(config, experiment, data_root, output)
    built = build_all(config.detectors)
    fitted = fit_all(built, experiment, sources.train, output / 'detectors', console)
    detectors = {name: each.detector for name, each in fitted.items() if each.detector}
    stored = StoredScores(output / 'scores', experiment.properties, fitted, config.map_stride)
    with progress(console) as bars:
        for source in sources.scored:
            score_source(source, detectors, experiment.watched, stored, bars)
        cost = measure_cost(fitted, experiment, sources.normal, output / 'cost', bars)
        questions, results = measure_all(
            config,
            sources,
            detectors,
            stored,
            len(experiment.class_names),
            output / 'measures',
            bars,
        )
    table = comparison_table(
        config,
        experiment,
        fitted,
        cost,
        questions,
        results,
        {source.name: stored.facts(source) for source in sources.scored},
        _undisturbed(sources, stored, len(experiment.class_names)),
    )
    curves = {
        name: {row: each.curves for row, each in by_row.items()}
        for name, by_row in results.items()
    }
    write_json(output / 'table.json', table.to_json())
    write_text(output / 'table.md', table_markdown(table))
    panels = all_panels(experiment, sources, questions, results, stored)
    write_text(output / 'report.html', report_html(table, curves, panels))
    return table


def _open_experiment(
    config: CompareConfig, folder: Path, data_root: Path, run: Path | None
) -> Experiment:
    """Load the watched network from a checkpoint, or from a finished training run.

    Raises:
        ConfigError: neither is given.
        StorageError: the weights do not fit.
    """
    if config.train.dataset not in SEGMENTATION_SETS:
        raise ConfigError(
            f'train.dataset is {config.train.dataset!r}, which has no labels to learn from; '
            f'choose one of {", ".join(SEGMENTATION_SETS)}'
        )
    dataset = SEGMENTATION_SETS[config.train.dataset](
        data_root / config.train.data_dir,
        config.train.split,
    )
    experiment = load_config(run / 'config.yaml' if run else folder / config.experiment)
    num_classes = len(dataset.class_names)
    context = None
    if run is not None:
        context = Context(experiment, run, choose_device(experiment.device))
        watched = Watched(context.backbone(), context.normalize(), num_classes)
        weights = f'training run {run.name}'
    elif config.weights is not None:
        watched = watched_network(experiment, data_root / config.weights, num_classes)
        weights = Path(config.weights).name
    else:
        raise ConfigError('no weights are named in the configuration; add them or give --run')
    return Experiment(watched, experiment, dataset.class_names, dataset.palette, weights, context)


def _undisturbed(
    sources: Sources, stored: StoredScores, num_classes: int
) -> dict[str, ConfusionMatrix]:
    """Return, by disturbed source, the confusion on the same frames before the change."""
    predictions = stored.predictions(sources.normal)

    @cache
    def count(every: int) -> ConfusionMatrix:
        return confusion(sources.normal, predictions, num_classes, every)

    return {source.name: count(source.every) for source in sources.disturbed}
