"""Class weights against the imbalance of road scenes (sky and road against poles and signs)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offline_training.data.base import VOID, DataError


def class_weights(
    label_maps: Iterable[NDArray[np.uint8]],
    num_classes: int,
    weighting: Literal['enet', 'median', 'none'],
    enet_offset: float = 1.1,
) -> NDArray[np.float32]:
    """Return one weight per class from the label maps (H, W); 255 is left out.

    `enet`: 1 / ln(c + p) with p the share of the class among all pixels (Paszke et al. 2016).
    `median`: median frequency balancing, with the frequency of a class counted only over the
    images it occurs in (Eigen and Fergus 2015). A class that never occurs gets weight 0.

    Raises:
        DataError: all labels are void.
    """
    pixels = np.zeros(num_classes)
    available = np.zeros(num_classes)
    for labels in label_maps:
        counts = np.bincount(labels[labels != VOID], minlength=num_classes)[:num_classes]
        pixels += counts
        available += np.where(counts > 0, counts.sum(), 0)
    seen = pixels > 0
    if not seen.any():
        raise DataError('no training image has a labelled pixel, only void (255); check labels')
    if weighting == 'none':
        return np.ones(num_classes, dtype=np.float32)
    weights = np.zeros(num_classes)
    if weighting == 'enet':
        weights[seen] = 1 / np.log(enet_offset + pixels[seen] / pixels.sum())
    else:
        frequency = pixels[seen] / available[seen]
        weights[seen] = np.median(frequency) / frequency
    return np.asarray(weights / weights[seen].mean(), dtype=np.float32)
