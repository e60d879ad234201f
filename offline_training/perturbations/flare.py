"""Lens flare: the sun in the image, its veil, its star, and its ghosts in the lens."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.perturbations.base import checked
from offline_training.perturbations.canvas import canvas_size, enlarge
from offline_training.perturbations.light import to_display, to_linear
from ros2_ood_monitor.frame import Float32Array, UInt8Array

SUN = np.array([1.0, 0.93, 0.78], np.float32)
VEIL, STAR, GHOST = 0.8, 5.0, 0.45
"""Light at severity 1 where white is 1: the veil near the sun, the star's rays, one ghost."""
ROUND = 4


@checked
def lens_flare(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Let the sun shine into the lens: light is added, more with `severity`, never taken away.

    Around the sun lie a disk that saturates, a veil that falls off with the squared angle as
    stray light does, and a star with two rays per pair of aperture blades. Ghosts are images of
    the aperture, coloured by the coatings, on the line from the sun through the image's centre.

    Source: Hullin et al., Physically-based real-time lens flare rendering, 2011; CIE 146
    (Stiles-Holladay veil, 1 / angle^2); Wu et al., How to train neural networks for flare
    removal, 2021; sun flare of LaREx.
    """
    height, width = canvas_size(image)
    side = min(height, width)
    sun = rng.uniform((0.1, 0.04), (0.9, 0.3)) * (width, height)
    blades = int(rng.integers(5, 9))
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x - np.float32(sun[0]), y - np.float32(sun[1])
    far = np.sqrt(x * x + y * y) / side
    angle = np.arctan2(y, x)
    disk = 6 * np.exp(-((far / 0.035) ** 2))
    veil = VEIL / (1 + (far / 0.22) ** 2)
    star = _star(rng, angle - turn, far, blades)
    light = (disk + veil + star)[..., None] * SUN
    light += _ghosts(rng, sun, (height, width), blades, turn)
    return to_display(to_linear(image) + severity * enlarge(light.astype(np.float32), image))


def _star(
    rng: np.random.Generator, angle: Float32Array, far: Float32Array, blades: int
) -> Float32Array:
    """Rays by diffraction at the blades' edges: as many as blades if even, else twice as many."""
    rays = blades if blades % 2 == 0 else 2 * blades
    main = np.abs(np.cos(rays / 2 * angle)) ** 200
    fine = sum(np.abs(np.cos(k * angle + rng.uniform(0, 6.3))) ** 12 for k in (7, 11, 17))
    return STAR * (main + 0.06 * fine) * np.exp(-far / 0.16) / (1 + far / 0.04)


def ghost_centres(
    rng: np.random.Generator, sun: NDArray[np.floating], size: tuple[int, int]
) -> NDArray[np.floating]:
    """Draw 6 to 12 centres (N, 2), x and y, on the line from the sun through the centre."""
    centre = np.array([size[1], size[0]]) / 2
    place = rng.uniform(-0.5, 1.3, int(rng.integers(6, 13)))
    return centre + place[:, None] * (centre - sun)


def _ghosts(
    rng: np.random.Generator,
    sun: NDArray[np.floating],
    size: tuple[int, int],
    blades: int,
    turn: float,
) -> Float32Array:
    """Add up all ghosts: linear light float32 (H, W, 3)."""
    side = min(size)
    light = np.zeros((*size, 3), np.float32)
    corners = turn + 2 * np.pi * np.arange(blades) / blades
    for centre in ghost_centres(rng, sun, size):
        radius = side * 0.02 * min(np.exp(rng.exponential(0.8)), 9.0)
        hue = rng.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])
        spread = (0.02 * side / radius) ** 0.5  # the same light over a larger image
        colour = GHOST * rng.uniform(0.4, 1) * spread * (0.55 + 0.45 * np.cos(hue))
        shape = np.zeros(size, np.uint8)
        for shrink, value in ((1.0, 255), (0.9, 170)):  # the caustic makes the rim brighter
            points = centre + shrink * radius * np.stack([np.cos(corners), np.sin(corners)], 1)
            fixed = np.rint(points * 2**ROUND).astype(np.int32)
            cv2.fillPoly(shape, [fixed], value, cv2.LINE_AA, ROUND)
        light += cv2.blur(shape, (3, 3))[..., None] * (colour / 255).astype(np.float32)
    return light
