"""Normal images with pasted objects, and their ground truth at map resolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline_training.data.base import VOID
from offline_training.data.frames import Frames
from offline_training.synthesis.negatives import GENERATED, Negatives
from offline_training.synthesis.pasting import paste_objects
from ros2_ood_monitor.bundle.manifest import MAP_STRIDE
from ros2_ood_monitor.frame import UInt8Array


@dataclass(frozen=True, eq=False)
class PastedFrame:
    """A normal image with pasted unknowns; `truth` uint8 (H/4, W/4): 1 unknown, 255 ignored."""

    image: UInt8Array
    truth: UInt8Array


def pasted_frames(
    frames: Frames, seed: int, negatives: Negatives = GENERATED
) -> Iterator[PastedFrame]:
    """Yield every frame with objects pasted into it, the same ones for the same seed."""
    rng = np.random.default_rng((seed, 7919))
    for image, labels in frames:
        donor = frames[int(rng.integers(len(frames)))][0]
        pasted, mask = paste_objects(rng, image, donor, negatives=negatives)
        yield PastedFrame(pasted, _map_truth(mask, labels))


def _map_truth(mask: UInt8Array, labels: UInt8Array) -> UInt8Array:
    """Reduce a full-size mask to map resolution; rims of objects and void become ignored."""
    cover, void = _share(mask > 0), _share(labels == VOID)
    truth = (cover > 0.5).astype(np.uint8)
    truth[(cover <= 0.5) & ((cover > 0) | (void > 0.5))] = VOID
    return truth


def _share(flags: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over blocks of one map pixel."""
    rows, columns = (side // MAP_STRIDE for side in flags.shape)
    blocks = flags.reshape(rows, MAP_STRIDE, columns, MAP_STRIDE)
    return np.asarray(blocks.mean(axis=(1, 3)))
