"""The image for people: what the network sees, what it should not be trusted with, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ros2_ood_monitor.alert import Alert
from ros2_ood_monitor.detection import Detection, Region
from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.pages.state_styles import COLORS

TINT = 0.35
"""Share of the class colour in a labeled pixel."""

HEAT = 0.6
"""Share of the heat colour in a pixel that is certainly unknown; the object stays visible."""

LEAST_WIDTH = 640
MOST_ENLARGED = 4
MOST_LINES = 3
"""Of the banner, for the causes."""

FAINTEST = 0.1
"""Anomaly probabilities below this are not drawn."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def draw(
    image: UInt8Array,
    detection: Detection,
    alert: Alert,
    palette: Sequence[tuple[int, int, int]],
) -> UInt8Array:
    """Return a copy of `image` (uint8 RGB (H, W, 3)) with everything known about it drawn in.

    One narrower than 640 pixels is enlarged by a whole number up to 4, or nobody could read it.
    Class tint, anomaly heat from yellow (doubtful) to magenta (certain), region boxes with their
    peak probability, and a banner with state, causes and a bar that is full at the alarm
    threshold. `palette` is the RGB of every class; a label without one gets no tint.
    """
    times = min(MOST_ENLARGED, math.ceil(LEAST_WIDTH / image.shape[1]))
    if times > 1:
        size = (times * image.shape[1], times * image.shape[0])
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    # Layers are coloured at network size and stretched: much cheaper than the other way round.
    colors, share = _class_layer(detection.labels, palette)
    overlay = _blended(image, colors, share, cv2.INTER_NEAREST)
    overlay = _blended(overlay, *_heat_layer(detection.anomaly_map), cv2.INTER_LINEAR)
    scale = max(0.5, min(image.shape[1] / 640, image.shape[0] / 480))
    for region in detection.regions:
        _box(overlay, region, times, scale)
    _banner(overlay, alert, scale)
    return overlay


def _class_layer(
    labels: UInt8Array, palette: Sequence[tuple[int, int, int]]
) -> tuple[UInt8Array, Float32Array]:
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    share = np.zeros(256, np.float32)
    share[: len(palette)] = TINT
    return colors[labels], share[labels]


def _heat_layer(anomaly: Float32Array) -> tuple[UInt8Array, Float32Array]:
    level = np.rint(np.nan_to_num(np.clip(anomaly, 0, 1), nan=0.0) * 255).astype(np.uint8)
    probability = np.linspace(0, 1, 256)
    # Yellow, red, magenta: none of them is a usual colour of a large class on a road.
    knots = np.array([[255, 235, 0], [255, 40, 0], [225, 0, 170]])
    channels = [np.interp(probability, (FAINTEST, 0.5, 1), knots[:, c]) for c in range(3)]
    colors = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    share = np.where(probability > FAINTEST, HEAT * np.sqrt(probability), 0).astype(np.float32)
    return colors[level], share[level]


def _blended(
    overlay: UInt8Array, colors: UInt8Array, share: Float32Array, interpolation: int
) -> UInt8Array:
    size = (overlay.shape[1], overlay.shape[0])
    share = np.asarray(cv2.resize(share, size, interpolation=interpolation), np.float32)
    layer = np.asarray(cv2.resize(colors, size, interpolation=interpolation), np.uint8)
    return np.asarray(cv2.blendLinear(overlay, layer, 1 - share, share), np.uint8)


def _box(overlay: UInt8Array, region: Region, times: int, scale: float) -> None:
    corner = (round(times * region.x), round(times * region.y))
    opposite = (
        round(times * (region.x + region.width)),
        round(times * (region.y + region.height)),
    )
    thickness = max(1, round(2 * scale))
    cv2.rectangle(overlay, corner, opposite, _BLACK, thickness + 2)
    cv2.rectangle(overlay, corner, opposite, _WHITE, thickness)
    text = f'unknown {region.peak:.0%}'
    font_size, thin = 0.45 * scale, max(1, round(scale))
    width, height = _width(text, font_size, thin) + 4 * thin, round(17 * scale)
    # Below the box if there is room, else inside at its bottom.
    top = max(0, min(opposite[1] + thickness, overlay.shape[0] - height))
    left = max(0, min(corner[0], overlay.shape[1] - width))
    overlay[top : top + height, left : left + width] = _BLACK
    _write(overlay, text, (left + 2 * thin, top + round(12.5 * scale)), font_size, thin)


def _banner(overlay: UInt8Array, alert: Alert, scale: float) -> None:
    width = overlay.shape[1]
    thickness, margin, bar = max(1, round(scale)), round(8 * scale), max(2, round(4 * scale))
    name_size, size = 0.62 * scale, 0.45 * scale
    beside = 2 * margin + _width(alert.state.name, name_size, thickness + 1)
    lines = _lines(alert.message, width - beside - margin, size, thickness)
    step = round(18 * scale)
    height = min(overlay.shape[0], round(30 * scale) + step * (len(lines) - 1))
    overlay[:height] = COLORS[alert.state]
    base_y = round(30 * scale) - bar - round(7 * scale)
    _write(overlay, alert.state.name, (margin, base_y), name_size, thickness + 1)
    for number, line in enumerate(lines):
        _write(overlay, line, (beside, base_y + number * step), size, thickness)
    fullness = alert.evidence / alert.threshold if alert.threshold > 0 else 0.0
    filled = round(width * min(1.0, fullness)) if math.isfinite(fullness) else 0
    overlay[height - bar : height] = (35, 35, 35)
    overlay[height - bar : height, :filled] = _WHITE


def _lines(text: str, width: int, size: float, thickness: int) -> list[str]:
    """Break a sentence between words into lines that fit, the last one cut if it must be."""
    # The font has no other letters.
    words = text.encode('ascii', 'replace').decode().split()
    lines = ['']
    for word in words:
        longer = f'{lines[-1]} {word}'.strip()
        if _width(longer, size, thickness) <= width or len(lines) == MOST_LINES:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fitting(line, width, size, thickness) for line in lines]


def _write(
    overlay: UInt8Array, text: str, base: tuple[int, int], size: float, thickness: int
) -> int:
    cv2.putText(overlay, text, base, _FONT, size, _WHITE, thickness, cv2.LINE_AA)
    return base[0] + _width(text, size, thickness)


def _width(text: str, size: float, thickness: int) -> int:
    return int(cv2.getTextSize(text, _FONT, size, thickness)[0][0])


def _fitting(text: str, width: int, size: float, thickness: int) -> str:
    # A cut sentence is better than one that leaves the image.
    if _width(text, size, thickness) <= width:
        return text
    while text and _width(text + '...', size, thickness) > width:
        text = text[:-1]
    return text + '...' if text else ''
