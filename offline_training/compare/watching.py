"""The watched network of a comparison, and the normal frames that detectors learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offline_training.compare.config import CompareConfig
from offline_training.compare.sources import Source
from offline_training.data.base import SegmentationSample, labels_at_size
from offline_training.data.frames import Frames
from offline_training.learning.settings import ConfigError
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import (
    SEGMENTATION_SETS,
    Context,
    choose_device,
    watched_network,
)
from offline_training.watched.base import Watched


@dataclass(frozen=True, eq=False)
class Experiment:
    """A frozen network with everything that belongs to it."""

    watched: Watched
    config: Config
    class_names: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    weights: str
    run: Context | None
    """The training run that the network is from, if it is from one."""


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
        config.train.split,  # type: ignore[arg-type]
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


def training_frames(source: Source) -> Frames:
    """Return the frames of a source, labels at network size, decoded on demand."""
    return Frames.of(_OfSource(source))


@dataclass(frozen=True, eq=False)
class _OfSource:
    source: Source

    def __len__(self) -> int:
        return self.source.count

    def __getitem__(self, index: int) -> SegmentationSample:
        frame = self.source.read(index)
        assert frame.labels is not None
        labels = labels_at_size(frame.labels, frame.image.shape[:2])
        return SegmentationSample(frame.image, labels, frame.name)
