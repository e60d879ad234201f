"""Synthetic driving scenes as data sets; each split has its own roads, traffic and weather."""

from __future__ import annotations

from offline_training.data.base import DataError, SegmentationSample, Split
from ros2_ood_monitor import __version__
from ros2_ood_monitor.scenes import SceneGenerator, classes

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
        split: Split,
        count: int,
        width: int = 240,
        height: int = 180,
    ) -> None:
        if split not in SPLIT_SEEDS:
            raise DataError(f'{split!r} is not a split of the scenes: use train, val or test.')
        if count < 1:
            raise DataError(f'{count} synthetic scenes asked for {split}: ask for at least 1.')
        self._generator = SceneGenerator(SPLIT_SEEDS[split], width, height)
        self.painted_from = (__version__, SPLIT_SEEDS[split], width, height)
        self.names = tuple(f'{split}_{index:05d}' for index in range(count))
        self.sequences = ('',) * count

    def __len__(self) -> int:
        """Return the number of stills."""
        return len(self.names)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Paint still `index`; the same index gives the same pixels."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        frame = self._generator.scene(index)
        return SegmentationSample(frame.image, frame.labels, self.names[index])
