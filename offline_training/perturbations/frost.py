"""Frost: ice ferns that grow on the window from its edges inwards."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.perturbations.base import checked
from offline_training.perturbations.light import ambient_light, to_display, to_linear
from offline_training.synthesis.fractal_noise import fractal_noise
from ros2_ood_monitor.frame import Float32Array, UInt8Array

Vector = NDArray[np.float64]

FERNS, NODES, TWIGS = 60, 26, 5
"""Ferns, nodes with two branches on a stem, nodes with two twigs on a branch."""
BRANCH = 0.36
"""Length of a branch over that of the stem beyond it."""
HEXAGON = np.pi / 3
"""Ice branches at 60 degrees."""
FIRST_ICE = 0.1
"""Below this severity, ice thins in proportion."""
ROUND = 4
ICE = np.array([0.93, 0.98, 1.06], np.float32)
"""Colour of ice in white light."""


@checked
def frost(rng: np.random.Generator, image: UInt8Array, severity: float) -> UInt8Array:
    """Cover the image with ice ferns and rime; `severity` is how long they have grown.

    Stems start at the border, bend, and branch twice at 60 degrees as ice does; rime fills in
    between. Ice shows the ambient light and a blurred image of what is behind it. At 1 nearly
    the whole window is covered.

    Source: effect named after Hendrycks and Dietterich, Benchmarking Neural Network Robustness
    to Common Corruptions, 2019, which pastes photographs; the growth is dendritic crystal growth
    as in Libbrecht, The physics of snow crystals, 2005, drawn as a branching system.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    waves = fractal_noise(rng, height, width, 0.5)
    grain = fractal_noise(rng, height, width, 0.9)
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    border = np.minimum(np.minimum(x + 1, width - x), np.minimum(y + 1, height - y)) / side
    rime = np.clip((1.25 * severity - 1.6 * border - 0.12 * waves - 0.12) / 0.3, 0, 1)
    rime *= np.clip(0.45 + 0.22 * grain, 0.1, 0.9)
    cover = 1 - (1 - rime) * (1 - _ferns(rng, height, width, severity))
    # Waves and roots of ferns reach over the border from the start: the first ice is thin.
    cover *= min(1.0, severity / FIRST_ICE)
    light = to_linear(image)
    behind = cv2.GaussianBlur(light, (0, 0), 0.012 * side + 0.3)
    ice = 0.55 * ambient_light(image) * ICE
    facets = np.clip(1 + 0.2 * waves + 0.12 * grain, 0.5, 1.7)[..., None]
    return to_display(light + (0.3 * behind + ice * facets - light) * cover[..., None])


def _ferns(rng: np.random.Generator, height: int, width: int, severity: float) -> Float32Array:
    """Draw what has grown by now: opacity float32 (H, W) in 0..1."""
    side = min(height, width)
    root, inward = _roots(rng, height, width)
    final = side * rng.uniform(0.15, 0.85, FERNS)
    born, pace = rng.uniform(0, 0.35, FERNS), side * rng.uniform(0.8, 1.4, FERNS)
    grown = np.clip((severity - born) * pace, 0, final)
    bend = 0.8 * rng.standard_normal(FERNS)
    stems, turn = _paths(root, inward, bend, final, grown, NODES)

    # Two branches at every node; the older part of a fern is the wider one.
    count = 2 * FERNS * NODES
    passed = final[:, None] * np.arange(1, NODES + 1) / NODES
    final = np.repeat((1.05 * final[:, None] - passed).ravel(), 2)
    grown = np.repeat((grown[:, None] - passed).ravel(), 2)
    ratio = BRANCH * rng.uniform(0.4, 1.2, count)
    final, grown = final * ratio, np.clip(grown * ratio, 0, final * ratio)
    angle = np.repeat(turn.ravel(), 2) + np.tile([-HEXAGON, HEXAGON], count // 2)
    root = np.repeat(stems[:, 1:].reshape(-1, 2), 2, axis=0)
    bend = np.tile([0.3, -0.3], count // 2)
    branches, turn = _paths(root, angle, bend, final, grown, TWIGS)

    # One pen stroke per branch that goes out along its twigs and back.
    twig = np.maximum(grown[:, None] - final[:, None] * np.arange(1, TWIGS + 1) / TWIGS, 0) * 0.6
    nodes = branches[:, 1:]
    left, right = (
        nodes + twig[..., None] * np.stack([np.cos(turn + a), np.sin(turn + a)], axis=2)
        for a in (-HEXAGON, HEXAGON)
    )
    tour = np.stack([nodes, left, nodes, right, nodes], axis=2).reshape(count, -1, 2)
    strokes = np.concatenate([branches[:, :1], tour], axis=1)[grown > 0.5]
    canvas = np.zeros((height, width), np.uint8)
    for paths, value, pen in ((strokes, 170, 0.0028), (stems, 220, 0.0035)):
        fixed = np.rint(paths * 2**ROUND).astype(np.int32)
        cv2.polylines(canvas, list(fixed), False, value, max(1, round(pen * side)), 8, ROUND)
    return np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0.7) / np.float32(255), np.float32)


def _roots(rng: np.random.Generator, height: int, width: int) -> tuple[Vector, Vector]:
    """Draw where ferns start on the border (N, 2), and their direction (N,), roughly inwards."""
    shares = np.array([width, height, width, height]) / (2 * (width + height))
    wall = rng.choice(4, FERNS, p=shares)
    along, zero = rng.random(FERNS), np.zeros(FERNS)
    x = np.choose(wall, [along, zero + 1, along, zero]) * width
    y = np.choose(wall, [zero, along, zero + 1, along]) * height
    return np.stack([x, y], axis=1), np.pi / 2 * (wall + 1) + rng.normal(0, 0.6, FERNS)


def _paths(
    root: Vector, angle: Vector, bend: Vector, final: Vector, grown: Vector, count: int
) -> tuple[Vector, Vector]:
    """Return bent paths (N, count + 1, 2) that end where they have grown to, and directions.

    What lies beyond `grown` of the `final` length collapses into the tip, so that a path at a
    lower severity is a part of the path at a higher one.
    """
    piece = np.arange(count)
    turn = angle[:, None] + bend[:, None] * (piece + 0.5) / count
    done = np.clip(grown[:, None] / final[:, None] * count - piece, 0, 1)
    step = (final[:, None] / count * done)[..., None] * np.stack([np.cos(turn), np.sin(turn)], 2)
    path = np.concatenate([root[:, None], root[:, None] + np.cumsum(step, axis=1)], axis=1)
    return path, turn
