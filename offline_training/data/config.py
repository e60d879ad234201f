"""Which labelled images to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offline_training.learning.settings import setting, settings


@dataclass(frozen=True)
@settings('data')
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
    ] = setting(
        'synthetic',
        'Synthetic scenes, a public set or your own folder; all but synthetic need data_dir.',
    )
    data_dir: str | None = setting(None, 'Folder of the data set; --data-dir sets it.')
    cache: str | None = setting(
        None, 'Folder that keeps decoded images of network size.', null='decode at every use'
    )
    train_samples: int = setting(
        400,
        'Number of synthetic training images; other data sets ignore it.',
        low=1,
        high=1_000_000,
    )
    val_samples: int = setting(
        60,
        'Number of synthetic validation and test images; other data sets ignore it.',
        low=1,
        high=1_000_000,
    )
