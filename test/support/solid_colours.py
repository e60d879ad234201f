"""Images of one colour with its number as label, for the colour network as a classifier."""

from __future__ import annotations

import numpy as np

from offline_training.data.frames import Frames
from support.colour_network import CLASSES, HEIGHT, KNOWN, UNKNOWN, WIDTH


def solid_frames(count: int, seed: int = 0, unknown: bool = False) -> Frames:
    """Known or unknown colours of varying brightness, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count).astype(np.uint8)
    colours = (UNKNOWN if unknown else KNOWN)[labels] * rng.uniform(0.85, 1.1, (count, 1))
    images = colours[:, None, None] + rng.normal(0, 8, (count, HEIGHT, WIDTH, 3))
    return Frames(list(images.clip(0, 255).astype(np.uint8)), list(labels))
