"""Fractal outlines from random iterated function systems, as in FractalDB.

Kataoka et al., "Pre-training without Natural Images", ACCV 2020, section 3.1. Nothing is
downloaded: the shapes are drawn anew from a seed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

MIN_SHARE = 0.2
"""A shape must fill this share of its box; FractalDB's filling rate."""
MAX_SHARE = 0.8
"""A shape that fills more looks like the box itself."""
LONGEST = 128
"""Larger boxes are drawn with this many pixels along the longer side and enlarged."""
THINNEST = 3
"""With fewer rows, the patches of 3 x 3 fill the box, and no shape is below `MAX_SHARE`."""
WALKERS = 1024


def iterated_function_system(rng: np.random.Generator) -> tuple[Float, Float, Float]:
    """Draw 2..8 affine maps x -> A x + b: A (N, 2, 2), b (N, 2) and probabilities (N,).

    Entries are uniform as in FractalDB, then each A is scaled to a spectral norm of 0.3..0.9:
    contracting maps have an attractor (Hutchinson 1981), so no system diverges. Probabilities are
    proportional to |det A|, which spreads points evenly.
    """
    count = int(rng.integers(2, 9))
    matrices = rng.uniform(-1, 1, (count, 2, 2))
    offsets = rng.uniform(-1, 1, (count, 2))
    norms = np.linalg.norm(matrices, ord=2, axis=(1, 2))
    matrices *= (rng.uniform(0.3, 0.9, count) / norms)[:, None, None]
    areas = np.abs(np.linalg.det(matrices))
    return matrices, offsets, areas / areas.sum()


def attractor_points(rng: np.random.Generator, count: int) -> Float:
    """Draw at least `count` points (N, 2) of the attractor of a random system (chaos game)."""
    matrices, offsets, probabilities = iterated_function_system(rng)
    # The fixed point of a map lies on the attractor, so no points have to be discarded at the
    # start.
    fixed = np.linalg.solve(np.eye(2) - matrices[0], offsets[0])
    points = np.tile(fixed, (WALKERS, 1))
    visited = []
    for chosen in rng.choice(len(matrices), (-(-count // WALKERS), WALKERS), p=probabilities):
        points = np.einsum('nij,nj->ni', matrices[chosen], points) + offsets[chosen]
        visited.append(points)
    return np.concatenate(visited)


def fractal_silhouette(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Draw one fractal, turned by a random angle, that fits its box: uint8 (height, width), 0/255.

    It fills between `MIN_SHARE` and `MAX_SHARE` of the box, which must be at least 8 x 8.
    """
    shrink = min(1.0, LONGEST / max(height, width))
    size = np.array([max(THINNEST, round(side * shrink)) for side in (width, height)])
    # More than half of the systems pass, so the loop ends soon.
    while True:
        points = attractor_points(rng, 4 * int(size.prod()))
        angle = rng.uniform(0, 2 * np.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        points = points @ np.array([[cos, sin], [-sin, cos]])
        low, extent = points.min(axis=0), np.ptp(points, axis=0) + 1e-12
        x, y = (((points - low) / extent) * (size - 1)).astype(np.int64).T
        small = np.zeros((size[1], size[0]), np.uint8)
        small[y, x] = 255
        # Points become the 3 x 3 patches FractalDB renders with: an area rather than dust.
        small = np.asarray(cv2.dilate(small, np.ones((3, 3), np.uint8)), np.uint8)
        mask = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        if MIN_SHARE <= (mask > 0).mean() <= MAX_SHARE:
            return np.asarray(mask, np.uint8)
