"""One row of images in the comparison report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ros2_ood_monitor.pages.images import ImageRow


@dataclass(frozen=True, eq=False)
class Panel(ImageRow):
    """A frame with its truth and maps, or a frame and its attacks."""

    kind: Literal['attacks', 'best', 'worst']
    """The section it stands in."""
