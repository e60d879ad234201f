"""Which unknown objects are pasted: generated families and cut-outs, for training or held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offline_training.synthesis.cutouts import Cutouts
from offline_training.synthesis.silhouettes import HELD_OUT_OUTLINES, OUTLINES, Outline
from offline_training.synthesis.textures import HELD_OUT_TEXTURES, TEXTURES, Generator
from ros2_ood_monitor.frame import UInt8Array

HELD_OUT = 5
"""One cut-out in so many is kept for calibration."""


@dataclass(frozen=True)
class Negatives:
    """Families that objects are drawn from; half of the objects are cut-outs if there are any."""

    textures: Sequence[Generator] = TEXTURES
    outlines: Sequence[Outline] = OUTLINES
    cutouts: Sequence[UInt8Array] = ()
    """Each uint8 (H, W, 4): colours in the order of the images they are pasted into, alpha."""
    donors: bool = True
    """Whether crops of other normal images serve as textures, too."""


GENERATED = Negatives()
"""The families that detectors are trained on where no folder of cut-outs is given."""


def training_negatives(objects: str | None, color_order: str = 'rgb') -> Negatives:
    """Return what a detector may be trained on; `objects` is a folder of cut-outs.

    `color_order` is that of the images that they are pasted into.

    Raises:
        DataError: see `Cutouts`.
    """
    return Negatives(cutouts=_cutouts(objects, color_order, held_out=False))


def held_out_negatives(objects: str | None, color_order: str = 'rgb') -> Negatives:
    """Return the families that no detector is trained on, for calibration and evaluation.

    `color_order` is that of the images that they are pasted into.

    Raises:
        DataError: see `Cutouts`.
    """
    cutouts = _cutouts(objects, color_order, held_out=True)
    return Negatives(HELD_OUT_TEXTURES, HELD_OUT_OUTLINES, cutouts, donors=False)


def _cutouts(objects: str | None, color_order: str, held_out: bool) -> Sequence[UInt8Array]:
    if objects is None:
        return ()
    cutouts = Cutouts(Path(objects), color_order)
    # Of fewer than five none could be kept: then both have all.
    cutouts.paths = [
        path
        for index, path in enumerate(cutouts.paths)
        if (index % HELD_OUT == HELD_OUT - 1) == held_out or len(cutouts.paths) < HELD_OUT
    ]
    return cutouts
