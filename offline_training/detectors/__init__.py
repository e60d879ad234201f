"""Detectors of unknown things; every score is higher for more anomalous pixels and frames."""

from __future__ import annotations

from offline_training.detectors.base import Detector
from offline_training.detectors.daain.detector import Daain
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.error_fusion.error_fusion import ErrorFusion
from offline_training.detectors.fused.monitor import Monitor
from offline_training.detectors.image_channel.image_channel import ImageChannel
from offline_training.detectors.larex.latent_density import LaRED, LaREM
from offline_training.detectors.logit_scores.logit_scores import (
    Energy,
    MaxLogit,
    MaxSoftmax,
    PredictiveEntropy,
    VoidProbability,
)
from offline_training.detectors.logit_scores.odin import Odin
from offline_training.detectors.logit_scores.standardized_max_logit import StandardizedMaxLogit
from offline_training.detectors.mahalanobis.mahalanobis import Mahalanobis
from offline_training.detectors.monte_carlo.mc_augmentation import McAugmentation
from offline_training.detectors.monte_carlo.mc_dropout import McDropBlock, McDropout
from offline_training.detectors.monte_carlo.weight_noise import WeightNoise
from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.detectors.obsnet.obsnet import ObsNet
from offline_training.detectors.residual_flow.residual_flow import ResidualFlow

_CLASSES: tuple[type[Detector], ...] = (
    MaxSoftmax,
    MaxLogit,
    PredictiveEntropy,
    Energy,
    VoidProbability,
    StandardizedMaxLogit,
    McDropout,
    McDropBlock,
    McAugmentation,
    Odin,
    WeightNoise,
    LaREM,
    LaRED,
    Mahalanobis,
    ResidualFlow,
    Daain,
    ObsNet,
    LightObserver,
    DenseFlowDensity,
    ErrorFusion,
    ImageChannel,
    Monitor,
)

DETECTORS: dict[str, type[Detector]] = {each.name: each for each in _CLASSES}
"""Every detector by its name, in the order of the comparison table."""
