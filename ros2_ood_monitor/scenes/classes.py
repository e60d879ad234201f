"""Classes of the synthetic scenes and their colours."""

from __future__ import annotations

from enum import IntEnum

from ros2_ood_monitor.detection import UNLABELED

VOID = UNLABELED
"""Label of pixels that belong to no class: the anomalies."""


class Label(IntEnum):
    """Label value of each class."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN = 6
    GRASS = 7
    CAR = 8
    PEDESTRIAN = 9


NAMES: tuple[str, ...] = tuple(label.name.lower() for label in Label)
"""Class names in label order."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (70, 130, 180),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (107, 142, 35),
    (220, 220, 0),
    (152, 251, 152),
    (64, 0, 128),
    (220, 20, 60),
)
"""RGB colour of each class in label order."""
