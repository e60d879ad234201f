"""Blue noise: points of a box that are random, evenly spread and never close to each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

CANDIDATES = 30
"""Tries around a point before it is given up (Bridson's value, and DAAIN's)."""
FILLERS = 1000
"""Uniform tries in the end; the sample is full when none of them finds a place."""
MOST_POINTS = 100_000


def poisson_disc(
    shape: tuple[int, int, int], radius: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw integer points (N, 3) in [0, shape), any two at least `radius` apart (Euclidean).

    Bridson, "Fast Poisson disk sampling in arbitrary dimensions", SIGGRAPH 2007, on the integer
    lattice, so that the distance also holds after rounding. Sorted by the first axis, then the
    second and the third.

    Raises:
        ValueError: the radius is below 1, or so small that far too many points would result.
    """
    if radius < 1 or np.prod(np.asarray(shape, float)) / radius**3 > MOST_POINTS:
        raise ValueError(
            f'a radius of {radius:g} in a space of {shape} is below 1 or gives more than '
            f'{MOST_POINTS} points; choose a larger one'
        )
    extent = np.asarray(shape)
    points = rng.integers(0, extent, (1, 3))
    active = points
    while len(active):
        # All active points try at once, which is what makes thousands of points affordable.
        candidates = _annuli(active, radius, rng)
        source = np.repeat(np.arange(len(active)), CANDIDATES)
        inside = ((candidates >= 0) & (candidates < extent)).all(axis=1)
        candidates, source = candidates[inside], source[inside]
        free = cKDTree(points).query(candidates)[0] >= radius
        candidates, source = candidates[free], source[free]
        # Whoever found no free place is given up; the others may try again.
        active = active[np.unique(source)]
        fresh = _thinned(candidates, radius, rng)
        points = np.concatenate([points, fresh])
        active = np.concatenate([active, fresh])
    # In a space thinner than the radius most tries miss it; uniform ones find the gaps left.
    fresh = points
    while len(fresh):
        candidates = rng.integers(0, extent, (FILLERS, 3))
        free = cKDTree(points).query(candidates)[0] >= radius
        fresh = _thinned(candidates[free], radius, rng)
        points = np.concatenate([points, fresh])
    return points[np.lexsort(points.T[::-1])]


def _annuli(
    centres: NDArray[np.int64], radius: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw lattice points about uniformly between one and two radii from each of `centres`."""
    direction = rng.normal(size=(len(centres), CANDIDATES, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    distance = radius * np.cbrt(rng.uniform(1, 8, (len(centres), CANDIDATES, 1)))
    return np.rint(centres[:, None] + direction * distance).astype(np.int64).reshape(-1, 3)


def _thinned(
    candidates: NDArray[np.int64], radius: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Keep candidates in random order, leaving out what is too close to a kept one."""
    candidates = candidates[rng.permutation(len(candidates))]
    tree = cKDTree(candidates)
    blocked = np.zeros(len(candidates), bool)
    kept = []
    for index, candidate in enumerate(candidates):
        if not blocked[index]:
            kept.append(index)
            # The tree reports up to and including the distance; exactly `radius` is allowed.
            blocked[tree.query_ball_point(candidate, np.nextafter(radius, 0))] = True
    return candidates[kept]


def gridify(
    points: NDArray[np.int64], size: tuple[int, int], rows: int, columns: int
) -> NDArray[np.int64]:
    """Arrange points (N, 3) = (channel, y, x) as a grid of indices into them, (K, rows, columns).

    Every cell of the image of `size` (height, width) gives K points, in order of their channel;
    K is the smallest count of all cells, and fuller cells leave out points evenly.

    Raises:
        ValueError: a cell has fewer than two points, too few for a coupling.
    """
    cells = points[:, 1] * rows // size[0] * columns + points[:, 2] * columns // size[1]
    members = [np.flatnonzero(cells == cell) for cell in range(rows * columns)]
    depth = min(len(member) for member in members)
    if depth < 2:
        raise ValueError(
            f'a cell of the {rows} x {columns} grid holds {depth} of {len(points)} points; '
            'use a coarser grid or more points'
        )
    kept = [m[np.linspace(0, len(m) - 1, depth).round().astype(int)] for m in members]
    return np.stack(kept, axis=1).reshape(depth, rows, columns)
