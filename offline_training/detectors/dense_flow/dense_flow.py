"""The dense flow under the contract of detectors: how unusual each pixel's features are."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.dense_flow.flow import TapFlow
from offline_training.detectors.dense_flow.flow_training import (
    FlowConfig,
    build_flow,
    collect,
    train_flow,
)
from offline_training.detectors.network_detector import NetworkDetector
from offline_training.learning.progress import fit_progress
from offline_training.learning.session import QUIET, Session
from offline_training.learning.task import Learned
from offline_training.watched.base import Seen, Watched


class DenseFlowDensity(NetworkDetector):
    """Mean negative log density per dimension of the watched taps, in nats, (B, H/4, W/4).

    The settings are those of `FlowConfig`.

    Raises:
        ConfigError: a setting is out of its range.
    """

    name = 'dense_flow'
    paper = (
        'Gudovskiy et al., CFLOW-AD: Real-Time Unsupervised Anomaly Detection with '
        'Localization via Conditional Normalizing Flows, 2022; Dinh et al., Density Estimation '
        'Using Real NVP, 2017'
    )
    inputs = 'taps'

    def __init__(self, **training: Any):
        if 'taps' in training:
            training = {**training, 'taps': tuple(training['taps'])}
        config = FlowConfig(**training)
        # Lists, because settings are JSON.
        super().__init__(**{**dataclasses.asdict(config), 'taps': list(config.taps)})
        self.config = config
        self.learned: Learned | None = None
        """How the training went; not saved."""

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Learn the density at correctly segmented pixels.

        Raises:
            ConfigError: the taps have fewer channels than `channels`.
            FloatingPointError: the training diverged.
        """
        config = self.config
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            flow = self.build(watched, *frames[0][1].shape)
        with fit_progress('features of dense_flow', len(frames)) as advance:
            samples, where = collect(watched, flow, frames, config.seed, advance)
        flow.whitening.fit(samples)
        self.learned = train_flow(flow, samples, where, config, session)
        self.keep(flow)
        return self

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        return self.call(seen)[:, 0]

    def trained(self, watched: Watched, height: int, width: int) -> TapFlow:
        """Return the flow with its weights, frozen, for images of this size."""
        flow = self.build(watched, height, width)
        flow.load_state_dict({n.replace('/', '.'): x for n, x in self.weights.named_buffers()})
        return flow.eval().requires_grad_(False)

    def build(self, watched: Watched, height: int, width: int) -> TapFlow:
        return build_flow(watched.network, self.config, height, width).to(watched.device)
