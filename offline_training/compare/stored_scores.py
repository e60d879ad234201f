"""The stored scores of a comparison, each valid for one detector, network and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_training.compare.fitting import Fitted
from offline_training.compare.source import Source
from ros2_ood_monitor.bundle.store import Entry

NETWORK = 'network'
"""Stored beside the detectors: what the watched network itself said."""


@dataclass(frozen=True, eq=False)
class StoredScores:
    """Per source and row: frame scores and, where the truth is known per pixel, score maps.

    Maps (N, H / s, W / s) float32 and labels (N, H, W) uint8 of the network lie in `.npy` files,
    of which only the frames that are looked at are read. The stride s is one for all rows, usually
    that of the monitor's own maps; finer maps are averaged, coarser ones interpolated.
    """

    folder: Path
    watched: Mapping[str, Any]
    """Properties of the watched network."""
    rows: Mapping[str, Fitted]
    map_stride: int

    def entry(self, source: Source, name: str) -> Entry:
        """Return where the scores of a row, or what the `NETWORK` said, are stored."""
        properties: dict[str, Any] = {'watched': self.watched, 'source': source.properties}
        if name != NETWORK:
            row = self.rows[name]
            properties['detector'] = row.digest
            if source.truth and row.detector is not None and row.detector.has_map:
                properties['map_stride'] = self.map_stride
        return Entry(self.folder / source.name, name, properties)

    def array_path(self, source: Source, name: str) -> Path:
        """Return the file of the maps, or of the labels of the `NETWORK`."""
        return self.folder / source.name / f'{name}.npy'

    def frames(self, source: Source, name: str) -> NDArray[np.float32]:
        """Return the frame scores (N,) of a row."""
        return np.array(self.entry(source, name).value(), dtype=np.float32)

    def maps(self, source: Source, name: str) -> NDArray[np.float32]:
        """Return the score maps (N, h, w) of a row, read as they are looked at."""
        return np.load(self.array_path(source, name), mmap_mode='r')

    def predictions(self, source: Source) -> NDArray[np.uint8]:
        """Return the labels uint8 (N, H, W) that the network gave, 255 = void, read likewise."""
        return np.load(self.array_path(source, NETWORK), mmap_mode='r')

    def facts(self, source: Source) -> dict[str, Any]:
        """Return names, mean PSNR in dB and confusion counts of the network on a source."""
        facts: dict[str, Any] = self.entry(source, NETWORK).value()
        return facts
