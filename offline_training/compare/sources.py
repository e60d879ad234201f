"""Frames that are judged: normal ones, ones with unknown things, perturbed and attacked ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from offline_training.attacks.malicious_autoencoder import psnr
from offline_training.compare.attack import ATTACKS, Victim
from offline_training.compare.config import ANOMALY_FOLDER, Attacked, ImageSet
from offline_training.data.base import VOID, anomaly_sample, labels_at_size
from offline_training.data.folder import AnomalyFolder
from offline_training.perturbations import PERTURBATIONS, perturb
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import SEGMENTATION_SETS, network_image

UInt8Array = NDArray[np.uint8]
Group = Literal['normal', 'objects', 'natural', 'attack']


@dataclass(frozen=True, eq=False)
class JudgedFrame:
    """One image uint8 (H, W, 3) of network size and colour order, and what is known of it."""

    name: str
    image: UInt8Array
    labels: UInt8Array | None = None
    """Class per pixel at the image's own size; 255 where void or unknown."""
    unknown: UInt8Array | None = None
    """1 where something unknown is, 0 where not, 255 where nobody can tell; as `labels`."""
    psnr: float | None = None
    """Likeness to the image that was perturbed or attacked, in dB."""


@dataclass(frozen=True, eq=False)
class Source:
    """A named sequence of frames, read one at a time."""

    name: str
    group: Group
    count: int
    read: Callable[[int], JudgedFrame]
    settings: Mapping[str, Any]
    """What made it, as plain values: stored results of other settings are not its own."""
    maps: bool
    """Has truth per pixel, so that score maps are kept."""


def image_source(
    name: str, group: Group, images: ImageSet, root: Path, config: Config, every: int = 1
) -> Source:
    """Read every so many-th image of a data set; raises DataError if it is not usable."""
    folder = root / images.data_dir
    settings = {**asdict(images), 'every': every}
    if images.dataset == ANOMALY_FOLDER:
        anomalies = AnomalyFolder(folder)

        def read_masked(index: int) -> JudgedFrame:
            sample = anomalies[index * every]
            return JudgedFrame(
                sample.name, network_image(sample.image, config), unknown=sample.mask
            )

        return Source(
            name, group, math.ceil(len(anomalies) / every), read_masked, settings, maps=True
        )
    dataset = SEGMENTATION_SETS[images.dataset](folder, images.split)  # type: ignore[arg-type]
    anomaly_labels = tuple(getattr(dataset, 'anomaly_labels', ()))

    def read_labelled(index: int) -> JudgedFrame:
        sample = dataset[index * every]
        labels, unknown = sample.labels, None
        if anomaly_labels:
            unknown = anomaly_sample(sample, anomaly_labels).mask
            labels = np.where(unknown == 1, VOID, labels).astype(np.uint8)
        return JudgedFrame(sample.name, network_image(sample.image, config), labels, unknown)

    return Source(name, group, math.ceil(len(dataset) / every), read_labelled, settings, maps=True)


def perturbed_source(
    name: str, normal: Source, severity: float, every: int, seed: int, bgr: bool
) -> Source:
    """Perturb every so many-th frame of a source."""

    def read(index: int) -> JudgedFrame:
        frame = normal.read(index * every)
        # Perturbations are of light and lens and know RGB; the same frame number, the same fog.
        image = frame.image[..., ::-1] if bgr else frame.image
        changed = perturb(name, np.ascontiguousarray(image), severity, seed + index * every)
        if bgr:
            changed = np.ascontiguousarray(changed[..., ::-1])
        labels = frame.labels
        if labels is not None and PERTURBATIONS[name].family == 'geometry':
            # What moves pixels moves their labels.
            layers = labels[..., None].repeat(3, axis=2)
            labels = perturb(name, layers, severity, seed + index * every)[..., 0]
        return JudgedFrame(frame.name, changed, labels, psnr=_likeness(frame.image, changed))

    settings = {
        'perturbation': name,
        'severity': severity,
        'every': every,
        'seed': seed,
        'of': dict(normal.settings),
    }
    return Source(name, 'natural', math.ceil(normal.count / every), read, settings, maps=False)


def attacked_source(name: str, normal: Source, attacked: Attacked, victim: Victim) -> Source:
    """Attack every so many-th frame of a source; images are rounded to bytes as a camera's."""
    attack = ATTACKS[attacked.kind](victim, attacked.settings)

    def read(index: int) -> JudgedFrame:
        frame = normal.read(index * attacked.every)
        assert frame.labels is not None
        labels = labels_at_size(frame.labels, frame.image.shape[:2])
        device = victim.watched.device
        generator = torch.Generator().manual_seed(victim.seed + index * attacked.every)
        pixels = torch.from_numpy(frame.image).to(device).permute(2, 0, 1)[None].float()
        result = attack(pixels, torch.from_numpy(labels)[None].long().to(device), generator)
        changed = result[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        changed = np.ascontiguousarray(changed)
        return JudgedFrame(frame.name, changed, frame.labels, psnr=_likeness(frame.image, changed))

    settings = {
        'attack': attacked.kind,
        'every': attacked.every,
        **attacked.settings,
        'seed': victim.seed,
        'of': dict(normal.settings),
    }
    return Source(
        name, 'attack', math.ceil(normal.count / attacked.every), read, settings, maps=False
    )


def _likeness(before: UInt8Array, after: UInt8Array) -> float | None:
    """Return the PSNR in dB; None when nothing changed."""
    error = float(np.mean((before.astype(np.float64) - after.astype(np.float64)) ** 2))
    return psnr(error) if error else None
