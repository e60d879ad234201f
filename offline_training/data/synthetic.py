"""Synthetic driving scenes as data sets; each split has its own roads, traffic and weather."""

from __future__ import annotations

from typing import Literal

from offline_training.data.base import AnomalySample, DataError, SegmentationSample
from ros2_ood_monitor.scenes import AnomalyEvent, SceneGenerator, classes

SPLIT_SEEDS = {'train': 101, 'val': 102, 'test': 103}
"""Generator seed of each split; demonstrations use others."""


class SyntheticScenes:
    """`count` labelled stills of `width` x `height`; never with an anomaly.

    Raises:
        DataError: The split is unknown or there is nothing in it.
    """

    class_names = classes.NAMES
    palette = classes.PALETTE

    def __init__(
        self,
        split: Literal['train', 'val', 'test'],
        count: int,
        width: int = 240,
        height: int = 180,
    ) -> None:
        self._generator = _generator(split, count, width, height)
        self._split, self._count = split, count

    def __len__(self) -> int:
        """Return the number of stills."""
        return self._count

    def __getitem__(self, index: int) -> SegmentationSample:
        """Paint still `index`; the same index gives the same pixels."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        frame = self._generator.scene(index)
        return SegmentationSample(frame.image, frame.labels, f'{self._split}_{index:05d}')


class SyntheticAnomalies:
    """`count` stills with one anomaly each: `anomalies.VALIDATION_KINDS` in val, `KINDS` in test.

    Raises:
        DataError: The split is neither val nor test (training never sees an anomaly), or there is
            nothing in it.
    """

    def __init__(
        self, split: Literal['val', 'test'], count: int, width: int = 240, height: int = 180
    ) -> None:
        from ros2_ood_monitor.scenes import anomalies

        if split not in ('val', 'test'):
            raise DataError(f'{split!r}: anomalies are never for training, use val or test.')
        self._generator = _generator(split, count, width, height)
        self._kinds = anomalies.VALIDATION_KINDS if split == 'val' else anomalies.KINDS
        self._split, self._count = split, count

    def __len__(self) -> int:
        """Return the number of stills."""
        return self._count

    def __getitem__(self, index: int) -> AnomalySample:
        """Paint still `index`; kinds take turns, distances run from far to near."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        kind = self._kinds[index % len(self._kinds)]
        age_s = 0.4 + 1.5 * ((index * 0.618) % 1)  # the golden ratio spreads them evenly
        clip = self._generator.clip(index, 2, 1 / age_s, [AnomalyEvent(0.0, 2.0, kind)])
        *_, frame = clip
        return AnomalySample(
            frame.image, frame.anomaly.astype('uint8'), f'{self._split}_{index:05d}_{kind}'
        )


def _generator(split: str, count: int, width: int, height: int) -> SceneGenerator:
    if split not in SPLIT_SEEDS:
        raise DataError(f'{split!r} is not a split of the scenes: use train, val or test.')
    if count < 1:
        raise DataError(f'{count} synthetic scenes asked for {split}: ask for at least 1.')
    return SceneGenerator(SPLIT_SEEDS[split], width, height)
