"""What every training stage gets: configuration, data, device, output folder, progress."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.progress import Progress

from offline_training.data.base import SegmentationDataset, Split
from offline_training.data.bdd import BDD100K
from offline_training.data.bdd_anomaly import BDDAnomaly
from offline_training.data.camvid import CamVid, CamVidOOD
from offline_training.data.cityscapes import Cityscapes
from offline_training.data.frames import Frames
from offline_training.data.labelled_folder import LabelledFolder
from offline_training.data.network_size import AtNetworkSize
from offline_training.data.street_hazards import StreetHazards
from offline_training.data.synthetic import SyntheticScenes
from offline_training.data.woodscape import WoodScape, WoodScapeSoiling
from offline_training.learning.progress import progress
from offline_training.learning.ranks import rank
from offline_training.learning.session import Session
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import read_json, read_tensors
from offline_training.pipeline.config import Config
from offline_training.segmentation.backbones import build_backbone
from offline_training.segmentation.backbones.base import Backbone
from offline_training.segmentation.backbones.checkpoints import load_checkpoint
from offline_training.synthesis.negatives import Negatives, held_out_negatives
from offline_training.watched.base import Watched
from offline_training.watched.normalization import Normalize
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.preprocessing import prepare

SEGMENTATION_SETS: dict[str, Callable[[Path, Split], SegmentationDataset]] = {
    'camvid': CamVid,
    'camvid_ood': CamVidOOD,
    'cityscapes': Cityscapes,
    'bdd100k': BDD100K,
    'bdd_anomaly': BDDAnomaly,
    'street_hazards': StreetHazards,
    'woodscape': WoodScape,
    'woodscape_soiling': WoodScapeSoiling,
    'folder': LabelledFolder,
}
"""What opens each set that is read from a folder and has a label per pixel."""


def open_dataset(config: Config, split: Split) -> SegmentationDataset:
    """Open one split of the configured data set with a label per pixel.

    Raises:
        ConfigError: the data set needs a folder and none is given.
        DataError: the folder is not usable.
    """
    data = config.data
    if data.dataset == 'synthetic':
        count = data.train_samples if split == 'train' else data.val_samples
        return SyntheticScenes(split, count, config.input.width, config.input.height)
    return SEGMENTATION_SETS[data.dataset](_data_dir(config), split)


def _data_dir(config: Config) -> Path:
    if config.data.data_dir is None:
        raise ConfigError(
            f'data.data_dir is not set but the data set {config.data.dataset!r} is read from a '
            'folder; give --data-dir'
        )
    return Path(config.data.data_dir)


def choose_device(name: str) -> torch.device:
    """Return the torch device of `auto`, `cpu` or `cuda`; raises ConfigError without a GPU."""
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda' but torch sees no GPU; use cpu or auto")
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    return torch.device(name)


def watched_network(config: Config, weights: Path, num_classes: int) -> Watched:
    """Return the network of a configuration with the weights of a checkpoint, on its device.

    Raises:
        StorageError: the checkpoint does not fit.
    """
    network = build_backbone(
        config.backbone.architecture, num_classes=num_classes + int(config.backbone.train_void)
    )
    load_checkpoint(network, weights)
    watched = Watched(network, Normalize(config.input), num_classes)
    return watched.to(choose_device(config.device))


@dataclass
class Context:
    """One run of the pipeline; stages communicate only through files in `output_dir`."""

    config: Config
    output_dir: Path
    device: torch.device
    console: Console = field(default_factory=lambda: Console(stderr=True))
    log_dir: Path | None = None
    """Folder for TensorBoard; None = no metrics are logged."""

    @cached_property
    def train(self) -> SegmentationDataset:
        """Training split."""
        return open_dataset(self.config, 'train')

    @cached_property
    def val(self) -> SegmentationDataset:
        """Validation split: choosing and calibration."""
        return open_dataset(self.config, 'val')

    @cached_property
    def train_data(self) -> Frames:
        """Training split at network size."""
        return self._frames(self.train)

    @cached_property
    def val_data(self) -> Frames:
        """Validation split at network size."""
        return self._frames(self.val)

    @property
    def num_outputs(self) -> int:
        """Output channels of the backbone: the classes, and void if it is trained."""
        return len(self.train.class_names) + int(self.config.backbone.train_void)

    def normalize(self) -> Normalize:
        """Return the normalisation module on the device."""
        return Normalize(self.config.input).to(self.device)

    def backbone(self) -> Backbone:
        """Return the trained backbone of this run, frozen, in evaluation mode.

        Raises:
            StorageError: the backbone stage has not run yet.
        """
        facts = read_json(self.output_dir / 'backbone.json')
        network = build_backbone(facts['architecture'], num_classes=facts['num_classes'])
        network.load_state_dict(read_tensors(self.output_dir / 'backbone.safetensors'))
        return network.to(self.device).eval().requires_grad_(False)

    def watched(self) -> Watched:
        """Return the trained backbone of this run under watch."""
        return Watched(self.backbone(), self.normalize(), len(self.train.class_names))

    def held_out_negatives(self) -> Negatives:
        """Return the unknown objects that no detector of this run is trained on."""
        return held_out_negatives(self.config.observer.objects, self.config.input.color_order)

    def session(self, stage: str) -> Session:
        """Return how the training of a stage runs."""
        return Session(
            self.output_dir / 'checkpoints' / f'{stage}.pt',
            self.config.workers,
            self.console,
            log_dir=self.log_dir,
        )

    def progress(self) -> Progress:
        """Return progress bars that write to standard error, of the first process alone."""
        bars = progress(self.console)
        bars.disable = rank() > 0
        return bars

    def _frames(self, dataset: SegmentationDataset) -> Frames:
        size, kept = self.config.input, self.config.data.cache
        cache = Path(kept) if kept else None
        if cache is None and isinstance(dataset, SyntheticScenes):
            cache = self._painted
        source = AtNetworkSize(dataset, size.width, size.height, size.color_order, cache)
        return Frames.of(source)

    @cached_property
    def _painted(self) -> Path:
        """Folder for this process: to paint a scene takes longer than to learn from it."""
        folder = TemporaryDirectory(prefix='scenes-')
        # Not before the process ends: workers of the loader read from it, too.
        atexit.register(folder.cleanup)
        return Path(folder.name)


def network_image(image: UInt8Array, config: Config) -> UInt8Array:
    """Bring an RGB image to network size and colour order, exactly as the runtime does."""
    size = config.input
    return prepare(image, size.width, size.height, size.color_order)[0]
