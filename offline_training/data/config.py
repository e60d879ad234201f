"""Which labelled images to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offline_training.learning.settings import between


@dataclass(frozen=True)
class DataConfig:
    """Which labelled images to train on."""

    dataset: Literal[
        'synthetic',
        'camvid',
        'camvid_ood',
        'cityscapes',
        'bdd100k',
        'bdd_anomaly',
        'street_hazards',
        'woodscape',
        'woodscape_soiling',
        'folder',
    ] = 'synthetic'
    """Synthetic scenes, a public set or your own folder; all but synthetic need data_dir."""
    data_dir: str | None = None
    """Folder of the data set; --data-dir sets it."""
    cache: str | None = None
    """Folder that keeps decoded images of network size; null = decode at every use."""
    train_samples: int = 400
    """Number of synthetic training images; ignored for the other data sets."""
    val_samples: int = 60
    """Number of synthetic validation and test images; ignored for the other data sets."""

    def __post_init__(self) -> None:
        between('data', self, 1, 1_000_000, 'train_samples', 'val_samples')
