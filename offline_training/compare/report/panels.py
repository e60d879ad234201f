"""One row of images in the comparison report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Panel:
    """Images side by side: a frame, its truth and maps, or a frame and its attacks."""

    title: str
    """May be empty where the images' own labels say all."""
    caption: str
    kind: Literal['attacks', 'best', 'worst']
    images: list[tuple[str, NDArray[np.uint8]]]
    """Each with its label: uint8 (H, W, 3) in 0..255, RGB."""
