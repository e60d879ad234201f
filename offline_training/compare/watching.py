"""Open the watched network of a comparison: a checkpoint, or that of a training run."""

from __future__ import annotations

from pathlib import Path

from offline_training.compare.config import CompareConfig
from offline_training.compare.experiment import Experiment
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import (
    SEGMENTATION_SETS,
    Context,
    choose_device,
    watched_network,
)
from offline_training.watched.base import Watched


def open_experiment(
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
