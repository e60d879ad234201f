"""Objects of our own, as cut-outs: families and cut-outs that no detector is trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from offline_training.measuring.perspective import Box, trimmed
from offline_training.synthesis.negatives import Negatives
from offline_training.synthesis.silhouettes import silhouette
from offline_training.synthesis.textures import texture
from ros2_ood_monitor.frame import UInt8Array

SIDE = 96
"""Pixels of a self-made cut-out."""


def self_made(negatives: Negatives, seed: int) -> Iterator[UInt8Array]:
    """Yield cut-outs RGBA (H, W, 4) for ever; every second one is real if there are any."""
    rng = np.random.default_rng((seed, 6101))
    while True:
        outline = silhouette(rng, SIDE, SIDE, negatives.outlines)
        colours = texture(rng, SIDE, SIDE, negatives.textures)
        yield trimmed(np.dstack([colours, outline]))
        if negatives.cutouts:
            yield trimmed(negatives.cutouts[int(rng.integers(len(negatives.cutouts)))])


def box_of_size(
    rng: np.random.Generator, image: UInt8Array, cutout: UInt8Array, share: float
) -> Box:
    """Return a box in the lower half, in which a cut-out covers `share` of the image's pixels."""
    rows, columns = image.shape[:2]
    tall, wide = cutout.shape[:2]
    filled = float(np.mean(cutout[..., 3] > 127))
    scale = float(np.sqrt(share * rows * columns / (filled * tall * wide)))
    height, width = scale * tall, scale * wide
    foot = max(height, rows * rng.uniform(0.65, 0.95))
    left = rng.uniform(0, max(1.0, columns - width))
    return Box(float(left), float(foot - height), width, height)
