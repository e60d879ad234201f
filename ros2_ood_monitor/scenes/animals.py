"""An animal that stands on the road, seen from the side; like all anomalies never in training."""

from __future__ import annotations

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.scenes.texture import between, fractal


def dog(
    rng: np.random.Generator, size: int, coats: tuple[Float32Array, Float32Array]
) -> tuple[Float32Array, UInt8Array]:
    """Return colours (size, size, 3) and alpha (size, size) of a striped toy dog.

    It faces left or right; `coats` are the RGB (3,) of its stripes.
    """
    alpha: UInt8Array = np.zeros((size, size), np.uint8)

    def place(x: float, y: float) -> tuple[int, int]:
        return round(x * size), round(y * size)

    def limb(points: list[tuple[float, float]], width: float) -> None:
        path = np.array([place(*point) for point in points], np.int32)
        cv2.polylines(alpha, [path], False, 255, max(1, round(width * size)), cv2.LINE_AA)

    for x, knee in ((0.3, 0.02), (0.4, -0.02), (0.72, 0.05), (0.82, 0.02)):
        limb([(x, 0.6), (x + knee, 0.78), (x, 0.955)], 0.07)
        limb([(x, 0.96), (x - 0.03, 0.96)], 0.06)
    cv2.ellipse(alpha, place(0.55, 0.54), place(0.33, 0.15), 0, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.ellipse(alpha, place(0.36, 0.5), place(0.15, 0.18), 0, 0, 360, 255, -1, cv2.LINE_AA)
    limb([(0.32, 0.44), (0.2, 0.28)], 0.16)
    cv2.ellipse(alpha, place(0.18, 0.25), place(0.12, 0.1), 0, 0, 360, 255, -1, cv2.LINE_AA)
    limb([(0.14, 0.27), (0.05, 0.3)], 0.09)
    limb([(0.22, 0.18), (0.28, 0.3)], 0.07)
    limb([(0.86, 0.48), (0.94, 0.38), (0.95, 0.26)], 0.05)

    rows, columns = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j].astype(np.float32)
    bend = fractal(rng, size, size, max(4, size // 3), 3)
    stripes = np.sin(columns * between(rng, 55, 75) + 9 * bend + 6 * rows) > 0
    hair = cv2.blur(rng.random((size, size), np.float32), (max(1, size // 20), 1))
    color = np.where(stripes[..., None], coats[0], coats[1])
    # Lit from above; the belly and the insides of the legs lie in shadow.
    light = 1.12 - 0.55 * np.clip((rows - 0.35) / 0.4, 0, 1) + 1.6 * (hair - 0.5)
    eye = np.hypot(columns - 0.14, rows - 0.23) < 0.018
    nose = np.hypot(columns - 0.03, rows - 0.29) < 0.028
    surface = np.where((eye | nose)[..., None], 20.0, color * light[..., None])
    if rng.random() < 0.5:
        surface, alpha = surface[:, ::-1], alpha[:, ::-1]
    return np.ascontiguousarray(surface, np.float32), np.ascontiguousarray(alpha, np.uint8)
