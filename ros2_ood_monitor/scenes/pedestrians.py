"""People who walk, as a short cycle of images."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import Color, between, grain, pick, stream, vary

VARIANTS = 32
PHASES = 4

_CLOTHES: tuple[Color, ...] = (
    (36, 40, 52),
    (60, 62, 68),
    (138, 40, 42),
    (46, 72, 116),
    (182, 176, 164),
    (92, 96, 66),
    (122, 92, 66),
    (210, 208, 206),
    (76, 50, 80),
    (168, 120, 60),
)
_SKIN: tuple[Color, ...] = ((222, 184, 156), (190, 144, 112), (132, 92, 68), (94, 66, 50))


@lru_cache(maxsize=VARIANTS)
def pedestrian(variant: int) -> tuple[Sprite, ...]:
    """Return the PHASES images of one person's step."""
    rng = stream('pedestrian', variant)
    top, legs, skin, hair, shoes = (
        vary(rng, choice[pick(rng, len(choice))], 0.2)
        for choice in (_CLOTHES, _CLOTHES, _SKIN, ((40, 32, 28), (110, 80, 50)), ((40, 38, 36),))
    )
    build, coat = between(rng, 0.85, 1.2), rng.random() < 0.3
    height = between(rng, 1.5, 1.9)
    folds = grain(rng, 144, 64, (1.0, 1.0, 1.0), 0.35)
    return tuple(
        _figure(
            math.sin(2 * math.pi * phase / PHASES),
            (top, legs, skin, hair, shoes),
            build,
            coat,
            height,
            folds,
        )
        for phase in range(PHASES)
    )


def _figure(
    swing: float,
    colors: tuple[Color, ...],
    build: float,
    coat: bool,
    height: float,
    folds: np.ndarray,
) -> Sprite:
    top, legs, skin, hair, shoes = colors
    surface = np.full((144, 64, 3), 60, np.float32)
    surface[:] = np.asarray(top, np.float32)
    alpha: UInt8Array = np.zeros((144, 64), np.uint8)

    def limb(
        start: tuple[float, float], end: tuple[float, float], width: int, color: Color
    ) -> None:
        for target, value in ((surface, tuple(color)), (alpha, 255)):
            cv2.line(
                target,
                (int(start[0]), int(start[1])),
                (int(end[0]), int(end[1])),
                value,
                width,
                cv2.LINE_AA,
            )

    wide = 13 * build
    limb((32, 38), (32 - wide - 8 * swing, 74), 7, tuple(0.85 * c for c in top))
    limb((28, 76), (28 - 12 * swing, 134), 10, tuple(0.85 * c for c in legs))
    limb((36, 76), (36 + 12 * swing, 134), 10, legs)
    limb((28 - 12 * swing, 138), (32 - 12 * swing, 138), 8, shoes)
    limb((36 + 12 * swing, 138), (40 + 12 * swing, 138), 8, shoes)
    hem = 100 if coat else 80
    torso = np.array(
        [(32 - wide, 32), (32 + wide, 32), (32 + wide * 0.9, hem), (32 - wide * 0.9, hem)],
        np.int32,
    )
    for target, value in ((surface, tuple(top)), (alpha, 255)):
        cv2.fillPoly(target, [torso], value, cv2.LINE_AA)
    limb((32, 38), (32 + wide + 8 * swing, 74), 7, tuple(1.1 * c for c in top))
    for target, values in ((surface, (tuple(hair), tuple(skin))), (alpha, (255, 255))):
        cv2.circle(target, (32, 15), 10, values[0], -1, cv2.LINE_AA)
        cv2.ellipse(target, (33, 18), (8, 9), 0, 0, 360, values[1], -1, cv2.LINE_AA)
    return Sprite(surface * folds, alpha, height * 64 / 144, height, Label.PEDESTRIAN)
