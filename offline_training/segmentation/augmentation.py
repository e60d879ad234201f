"""Random scale, crop, flip and photometric changes for segmentation training (NumPy, OpenCV)."""

from __future__ import annotations

import cv2
import numpy as np

from offline_training.data.base import VOID
from offline_training.segmentation.config import AugmentationConfig, PhaseConfig
from ros2_ood_monitor.frame import UInt8Array


def random_crop(
    image: UInt8Array,
    labels: UInt8Array,
    width: int,
    height: int,
    scale: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[UInt8Array, UInt8Array]:
    """Cut a random window and resize it to (height, width) so that the image appears scaled.

    Only the window is resampled, not the whole image. Where the window is larger than the image,
    the image is centred at a random offset and the rest is mean grey with label 255.
    """
    factor = float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    window_w, window_h = round(width / factor), round(height / factor)
    full_h, full_w = labels.shape
    x = int(rng.integers(min(0, full_w - window_w), max(0, full_w - window_w) + 1))
    y = int(rng.integers(min(0, full_h - window_h), max(0, full_h - window_h) + 1))
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + window_w, full_w), min(y + window_h, full_h)
    shrink = factor < 1
    if (x1 - x0, y1 - y0) == (window_w, window_h):
        return (
            _resize(image[y0:y1, x0:x1], width, height, shrink),
            cv2.resize(labels[y0:y1, x0:x1], (width, height), interpolation=cv2.INTER_NEAREST),
        )  # type: ignore[return-value]
    canvas = np.full((height, width, 3), 127, dtype=np.uint8)
    truth = np.full((height, width), VOID, dtype=np.uint8)
    left, top = round((x0 - x) * factor), round((y0 - y) * factor)
    part_w = min(width - left, max(1, round((x1 - x0) * factor)))
    part_h = min(height - top, max(1, round((y1 - y0) * factor)))
    canvas[top : top + part_h, left : left + part_w] = _resize(
        image[y0:y1, x0:x1], part_w, part_h, shrink
    )
    truth[top : top + part_h, left : left + part_w] = cv2.resize(
        labels[y0:y1, x0:x1], (part_w, part_h), interpolation=cv2.INTER_NEAREST
    )
    return canvas, truth


def _resize(image: UInt8Array, width: int, height: int, shrink: bool) -> UInt8Array:
    mode = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=mode)  # type: ignore[return-value]


def photometric(
    image: UInt8Array, config: AugmentationConfig, rng: np.random.Generator
) -> UInt8Array:
    """Change gamma, contrast and brightness by one table, then saturation and white balance."""
    ramp = np.linspace(0.0, 1.0, 256)
    gamma = np.exp(rng.uniform(-config.gamma, config.gamma))
    contrast = 1 + rng.uniform(-config.contrast, config.contrast)
    brightness = rng.uniform(-config.brightness, config.brightness)
    tables = np.empty((256, 3))
    for channel in range(3):
        gain = 1 + rng.uniform(-config.color, config.color)
        tables[:, channel] = (ramp**gamma - 0.5) * contrast * gain + 0.5 + brightness
    table = np.clip(tables * 255 + 0.5, 0, 255).astype(np.uint8).reshape(256, 1, 3)
    out = cv2.LUT(image, table)
    if config.saturation > 0:
        amount = 1 + rng.uniform(-config.saturation, config.saturation)
        grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        out = cv2.addWeighted(out, amount, grey, 1 - amount, 0.0)
    return np.asarray(out, dtype=np.uint8)


def augment(
    image: UInt8Array,
    labels: UInt8Array,
    phase: PhaseConfig,
    config: AugmentationConfig,
    rng: np.random.Generator,
) -> tuple[UInt8Array, UInt8Array]:
    """Return one augmented image (H, W, 3) of the phase's crop size and its labels (H, W)."""
    scale = (phase.min_scale, phase.max_scale)
    image, labels = random_crop(image, labels, phase.crop_width, phase.crop_height, scale, rng)
    if config.flip and rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return photometric(np.ascontiguousarray(image), config, rng), np.ascontiguousarray(labels)
