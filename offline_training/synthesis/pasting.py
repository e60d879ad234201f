"""Paste unknown objects into normal images: the negatives the observer learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.synthesis.fractal_noise import fractal_noise
from offline_training.synthesis.negatives import GENERATED, Negatives
from offline_training.synthesis.silhouettes import silhouette
from offline_training.synthesis.textures import texture
from ros2_ood_monitor.frame import Float32Array, UInt8Array


def paste_objects(
    rng: np.random.Generator,
    image: UInt8Array,
    donor: UInt8Array | None = None,
    max_objects: int = 3,
    negatives: Negatives = GENERATED,
) -> tuple[UInt8Array, UInt8Array]:
    """Paste 1..`max_objects` random objects; return the image and a mask uint8 (H, W) of 0 or 1.

    `image` is uint8 RGB (H, W, 3) and is not changed. `donor`, another normal image, lends crops
    out of context for part of the objects, and half of them are cut-outs of `negatives` if it has
    any. Half of the objects take over the local mean colour and
    contrast, so that colour alone does not give them away, and edges are feathered at random, so
    that a sharp cut does not either.
    """
    image = image.copy()
    mask = np.zeros(image.shape[:2], np.uint8)
    for _ in range(int(rng.integers(1, max_objects + 1))):
        _paste_one(rng, image, mask, donor, negatives)
    return image, mask


def _paste_one(
    rng: np.random.Generator,
    image: UInt8Array,
    mask: UInt8Array,
    donor: UInt8Array | None,
    negatives: Negatives,
) -> None:
    rows, columns = mask.shape
    cutout = _cutout(rng, negatives.cutouts)
    # Log-uniform sizes: far, small objects must count as much as near ones.
    size = np.exp(rng.uniform(np.log(0.04), np.log(0.6))) * rows
    if cutout is None:
        aspect = np.exp(rng.uniform(-0.8, 0.8))
    else:
        aspect = cutout.shape[1] / cutout.shape[0]
    height = int(np.clip(size / np.sqrt(aspect), 8, rows - 2))
    width = int(np.clip(size * np.sqrt(aspect), 8, columns - 2))
    # Most objects stand in the lower two thirds, as obstacles do.
    lowest = rows - height
    top = int(rng.uniform(0.25 * lowest, lowest) if rng.random() < 0.8 else rng.uniform(0, lowest))
    left = int(rng.integers(0, columns - width))

    if cutout is None:
        surface, outline = _generated(rng, donor, height, width, negatives)
    else:
        surface, outline = _resized(rng, cutout, height, width)
    window = image[top : top + height, left : left + width].astype(np.float32)
    if rng.random() < 0.5:
        surface = _match_colour(rng, surface, window, outline)
    surface = _weather(rng, surface, window)

    alpha: Float32Array = (outline / 255).astype(np.float32)
    if rng.random() < 0.75:
        alpha = _feather(alpha, rng.uniform(0.4, 1.6))
    blended = window + alpha[..., None] * (surface - window)
    image[top : top + height, left : left + width] = np.clip(blended, 0, 255).astype(np.uint8)
    mask[top : top + height, left : left + width] |= (alpha > 0.5).astype(np.uint8)


def _generated(
    rng: np.random.Generator,
    donor: UInt8Array | None,
    height: int,
    width: int,
    negatives: Negatives,
) -> tuple[NDArray, UInt8Array]:
    outline = silhouette(rng, height, width, negatives.outlines)
    if donor is not None and negatives.donors and rng.random() < 0.25:
        surface = _donor_crop(rng, donor, height, width)
    else:
        surface = texture(rng, height, width, negatives.textures).astype(np.float32)
    return _shade(rng, surface, outline), outline


def _cutout(rng: np.random.Generator, cutouts: Sequence[UInt8Array]) -> UInt8Array | None:
    """Draw a cut-out for half of the objects, flipped or turned by up to a right angle."""
    if not cutouts or rng.random() < 0.5:
        return None
    chosen = cutouts[int(rng.integers(len(cutouts)))]
    if rng.random() < 0.5:
        chosen = chosen[:, ::-1]
    if rng.random() < 0.15:
        chosen = np.rot90(chosen, int(rng.integers(1, 4)))
    return np.ascontiguousarray(chosen)


def _resized(
    rng: np.random.Generator, cutout: UInt8Array, height: int, width: int
) -> tuple[NDArray, UInt8Array]:
    """Return colours and outline of a cut-out at this size, lighter or darker than it was."""
    shrinks = height < cutout.shape[0]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # Weighted by alpha, as the colours of transparent pixels mean nothing.
    alpha = cutout[..., 3:].astype(np.float32) / 255
    colours = cv2.resize(cutout[..., :3] * alpha, (width, height), interpolation=kind)
    share = cv2.resize(alpha, (width, height), interpolation=kind)
    surface = colours / np.maximum(share, 1e-3)[..., None]
    outline = np.where(share > 0.5, 255, 0).astype(np.uint8)
    return surface * np.float32(rng.uniform(0.7, 1.3)), outline


def _feather(alpha: Float32Array, sigma: float) -> Float32Array:
    """Feather the outline; drop parts too thin to stay half visible: they are not in the mask."""
    soft = cv2.GaussianBlur(alpha, (0, 0), sigma)
    reach = 2 * math.ceil(4 * sigma) + 1
    near = cv2.dilate((soft > 0.5).astype(np.uint8), np.ones((reach, reach), np.uint8))
    return np.asarray(soft * near, np.float32) if near.any() else alpha


def _donor_crop(rng: np.random.Generator, donor: UInt8Array, height: int, width: int) -> NDArray:
    """Crop another image at a scale, orientation and tint that normal driving does not show."""
    scale = rng.uniform(0.5, 2.5)
    crop_height = int(np.clip(height * scale, 4, donor.shape[0]))
    crop_width = int(np.clip(width * scale, 4, donor.shape[1]))
    top = int(rng.integers(0, donor.shape[0] - crop_height + 1))
    left = int(rng.integers(0, donor.shape[1] - crop_width + 1))
    crop = donor[top : top + crop_height, left : left + crop_width]
    crop = np.rot90(crop, int(rng.integers(1, 4)))
    resized = cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32) * rng.uniform(0.6, 1.4, 3).astype(np.float32)


def _shade(rng: np.random.Generator, surface: NDArray, outline: UInt8Array) -> NDArray:
    """Light the object from one side and darken its rim, so that it looks solid."""
    height, width = outline.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.5) * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)) * 2
    if rng.random() < 0.6:
        depth = cv2.distanceTransform(outline, cv2.DIST_L2, 3)
        light = light * (1 - rng.uniform(0, 0.5) * np.exp(-depth / (0.1 * min(height, width) + 1)))
    if rng.random() < 0.3:
        light = light * (1 + rng.uniform(0, 0.25) * fractal_noise(rng, height, width, 0.4))
    return surface * light[..., None]


def _match_colour(
    rng: np.random.Generator, surface: NDArray, window: NDArray, outline: UInt8Array
) -> NDArray:
    """Move the object's mean and contrast towards those of what it hides."""
    inside = outline > 0
    if inside.sum() < 8:
        return surface
    strength = rng.uniform(0.4, 1.0)
    mean, std = surface[inside].mean(axis=0), surface[inside].std(axis=0) + 1
    target_mean, target_std = window[inside].mean(axis=0), window[inside].std(axis=0) + 4
    matched = (surface - mean) / std * np.minimum(std, 2 * target_std) + target_mean
    return surface * (1 - strength) + matched * strength


def _weather(rng: np.random.Generator, surface: NDArray, window: NDArray) -> NDArray:
    """Give the object the camera's own blur and grain."""
    if rng.random() < 0.6:
        surface = cv2.GaussianBlur(surface, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < 0.4:
        surface = surface * 0.9 + window.mean(axis=(0, 1)) * 0.1
    return surface + rng.normal(0, rng.uniform(0, 5), surface.shape).astype(np.float32)
