"""The light observer head under the contract of detectors: ObsNet's task on the watched taps."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.logit_scores.logit_scores import error_odds
from offline_training.detectors.network_detector import NetworkDetector
from offline_training.detectors.observer.observer import Observer
from offline_training.detectors.observer.observer_training import (
    ObserverConfig,
    build_observer,
    train_observer,
)
from offline_training.learning.session import QUIET, Session
from offline_training.learning.task import Learned
from offline_training.watched.base import Seen, Watched

Target = Literal['unknown', 'error', 'both']
CHANNELS: dict[Target, tuple[int, ...]] = {'unknown': (0,), 'error': (1,), 'both': (0, 1)}


class LightObserver(NetworkDetector):
    """The logit of a small head that reads the watched network's taps, (B, H/4, W/4).

    `target` chooses what is scored: unknown things, mis-segmented pixels, or the higher of both
    logits, which is what ObsNet's measures ask for. `confidence` adds the log-odds of an error by
    the watched network's own softmax, at the size of its logits: where they disagree, either may
    be right. Other settings are those of `ObserverConfig`; they and not these two matter to
    `fit`.

    Raises:
        ConfigError: a setting is out of its range.
        ValueError: `target` is not known.
    """

    name = 'light_observer'
    paper = (
        'after Besnier et al., Triggering Failures: Out-Of-Distribution Detection by '
        'Learning from Local Adversarial Attacks in Semantic Segmentation, 2021'
    )
    inputs = 'logits, taps'

    def __init__(self, target: Target = 'unknown', confidence: bool = False, **training: Any):
        if target not in CHANNELS:
            raise ValueError(f'target is {target!r} but must be one of {list(CHANNELS)}')
        if 'taps' in training:
            training = {**training, 'taps': tuple(training['taps'])}
        config = ObserverConfig(**training)
        # Lists, because settings are JSON.
        settings = {**dataclasses.asdict(config), 'taps': list(config.taps)}
        super().__init__(target=target, confidence=confidence, **settings)
        self.config = config
        self.learned: Learned | None = None
        """How the training went; not saved."""

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Train the head on pasted unknowns and local attacks.

        Raises:
            FloatingPointError: the training diverged.
        """
        config = self.config
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            observer = self.build(watched, *frames[0][1].shape)
        self.learned = train_observer(observer, watched, frames, config, session)
        self.keep(observer)
        return self

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        observed = self.call(seen)
        first, *rest = (observed[:, channel] for channel in CHANNELS[self.settings['target']])
        score = torch.maximum(first, rest[0]) if rest else first
        if not self.settings['confidence']:
            return score
        odds = error_odds(seen['logits'][:, : watched.num_classes])
        return odds + F.interpolate(score[:, None], size=odds.shape[-2:], mode='bilinear')[:, 0]

    def build(self, watched: Watched, height: int, width: int) -> Observer:
        return build_observer(watched.network, self.config, height, width).to(watched.device)
