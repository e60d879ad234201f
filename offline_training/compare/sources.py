"""The sources of a comparison: normal images, ones with unknown objects, disturbed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from offline_training.attacks.malicious_autoencoder import psnr
from offline_training.compare.attack import LEARNT_FROM, Victim, prepare_attack
from offline_training.compare.config import ANOMALY_FOLDER, Attacked, CompareConfig, ImageSet
from offline_training.compare.experiment import Experiment
from offline_training.compare.source import Group, PixelTruth, Source, SourceFrame
from offline_training.data.base import VOID, SegmentationDataset, anomaly_mask, labels_at_size
from offline_training.data.folder import AnomalyFolder
from offline_training.data.identity import data_identity
from offline_training.perturbations import PERTURBATIONS, perturb
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import SEGMENTATION_SETS, network_image
from ros2_ood_monitor.frame import UInt8Array


@dataclass(frozen=True, eq=False)
class Sources:
    """All images of a comparison."""

    train: Source
    """What detectors and attacks learn from."""
    val: Source
    normal: Source
    images: Sequence[Source]
    disturbed: Sequence[Source]

    @property
    def scored(self) -> list[Source]:
        """Return all but the images that detectors learn from."""
        return [self.normal, self.val, *self.images, *self.disturbed]


def open_sources(
    config: CompareConfig, experiment: Experiment, data_root: Path, output: Path
) -> Sources:
    """Open all sources; attacks that learn keep it in `output`.

    Raises:
        ConfigError: an attack has a setting that it does not know.
        DataError: a data set is not usable.
    """
    settings = experiment.config
    open_images = partial(image_source, root=data_root, config=settings)
    train = open_images('train', 'normal', config.train, every=config.train_every)
    val = open_images('val', 'normal', config.val, every=config.val_every)
    normal = open_images('normal', 'normal', config.normal)
    strength = config.perturbations
    bgr = settings.input.color_order == 'bgr'
    perturbed = [
        perturbed_source(name, normal, strength.severity, strength.every, config.seed, bgr)
        for name in strength.names
    ]
    attacked = []
    for name, each in config.attacks.items():
        victim = Victim(experiment, train, val, output / 'attacks', name, config.seed)
        attacked.append(attacked_source(name, normal, each, victim))
    images = [open_images(name, 'objects', each) for name, each in config.images.items()]
    return Sources(train, val, normal, images, [*perturbed, *attacked])


def image_source(
    name: str, group: Group, images: ImageSet, root: Path, config: Config, every: int = 1
) -> Source:
    """Read each `every`-th image of a data set; raises DataError if it is not usable."""
    folder, masks_only = root / images.data_dir, images.dataset == ANOMALY_FOLDER
    dataset: AnomalyFolder | SegmentationDataset = (
        AnomalyFolder(folder)
        if masks_only
        else SEGMENTATION_SETS[images.dataset](folder, images.split)
    )
    anomaly_labels = tuple(getattr(dataset, 'anomaly_labels', ()))

    def read(index: int) -> SourceFrame:
        sample = dataset[index * every]
        image, labels = network_image(sample.image, config), sample.labels
        if masks_only:
            return SourceFrame(sample.name, image, unknown=labels)
        if not anomaly_labels:
            return SourceFrame(sample.name, image, labels)
        unknown = anomaly_mask(labels, anomaly_labels)
        known = np.where(unknown == 1, VOID, labels).astype(np.uint8)
        return SourceFrame(sample.name, image, known, unknown)

    truth: tuple[PixelTruth, ...] = ('unknown',) if masks_only else ('labels',)
    if anomaly_labels:
        truth = ('labels', 'unknown')
    properties = {
        'dataset': images.dataset,
        'split': images.split,
        'every': every,
        'files': data_identity(dataset, folder),
    }
    return Source(name, group, math.ceil(len(dataset) / every), read, properties, truth)


def perturbed_source(
    name: str, normal: Source, severity: float, every: int, seed: int, bgr: bool
) -> Source:
    """Perturb each `every`-th frame of a source."""

    def read(index: int) -> SourceFrame:
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
        return SourceFrame(frame.name, changed, labels, psnr=_likeness(frame.image, changed))

    properties = {
        'perturbation': name,
        'severity': severity,
        'every': every,
        'seed': seed,
        'of': normal.properties,
    }
    count = math.ceil(normal.count / every)
    return Source(name, 'natural', count, read, properties, every=every)


def attacked_source(name: str, normal: Source, attacked: Attacked, victim: Victim) -> Source:
    """Attack each `every`-th frame of a source; images are rounded to bytes as a camera's."""
    attack = prepare_attack(attacked.kind, victim, attacked.settings)
    every = attacked.every

    def read(index: int) -> SourceFrame:
        frame = normal.read(index * every)
        assert frame.labels is not None
        labels = labels_at_size(frame.labels, frame.image.shape[:2])
        device = victim.experiment.watched.device
        generator = torch.Generator().manual_seed(victim.seed + index * every)
        pixels = torch.from_numpy(frame.image).to(device).permute(2, 0, 1)[None].float()
        result = attack(pixels, torch.from_numpy(labels)[None].long().to(device), generator)
        changed = result[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        changed = np.ascontiguousarray(changed)
        return SourceFrame(frame.name, changed, frame.labels, psnr=_likeness(frame.image, changed))

    properties = {
        'attack': attacked.kind,
        'every': every,
        **attacked.settings,
        'seed': victim.seed,
        'of': normal.properties,
        **{each: getattr(victim, each).properties for each in LEARNT_FROM.get(attacked.kind, ())},
    }
    count = math.ceil(normal.count / every)
    return Source(name, 'attack', count, read, properties, every=every)


def _likeness(before: UInt8Array, after: UInt8Array) -> float | None:
    """Return the PSNR in dB; None when nothing changed."""
    error = float(np.mean((before.astype(np.float64) - after.astype(np.float64)) ** 2))
    return psnr(error) if error else None
