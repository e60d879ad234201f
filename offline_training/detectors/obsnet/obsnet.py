"""ObsNet (Besnier, Bursuc, Picard, Briot, ICCV 2021): a second network that sees failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.logit_scores.logit_scores import error_odds
from offline_training.detectors.network_detector import NetworkDetector
from offline_training.detectors.obsnet.obsnet_network import (
    Layout,
    ObserverNetwork,
    SmallObserver,
    initialise,
)
from offline_training.detectors.obsnet.obsnet_training import Training, train
from offline_training.learning.session import QUIET, Session
from offline_training.watched.base import Seen, Watched


class ObsNet(NetworkDetector):
    """The logit of "the segmentation is wrong here" from an observer network, per pixel.

    The observer is a copy of the watched network with one output. It sees the image and, added
    at the input of each block, what the same block of the watched network receives; it learns
    from local attacks on the watched network. `Training` lists the settings of the training.

    Ablations of the paper: `image=False` (the observer sees the features alone), `residual=False`
    (it sees the image alone), `small=True` (only the last blocks), `pretrained=False` (random
    weights at the start), `attack=None` (only natural failures).

    With `confidence`, which is not in the paper, the score starts at the log-odds of an error by
    the target's own softmax, and the observer learns what these leave open: a short training then
    ends above the softmax instead of having to learn it first.

    Other departures: the observer has the dropout of the target instead of 0.1 throughout, and
    learns from pasted objects, too, by AdamW.

    Raises:
        ValueError: a setting is out of its range, or the observer would see nothing.
    """

    name = 'obsnet'
    paper = (
        'Besnier et al., Triggering Failures: Out-Of-Distribution Detection by Learning '
        'from Local Adversarial Attacks in Semantic Segmentation, 2021'
    )
    inputs = 'image, taps'
    passes = 2

    def __init__(
        self,
        image: bool = True,
        residual: bool = True,
        small: bool = False,
        pretrained: bool = True,
        confidence: bool = True,
        **training: Any,
    ):
        settings = Training(**training)
        super().__init__(
            image=image,
            residual=residual,
            small=small,
            pretrained=pretrained,
            confidence=confidence,
            **dataclasses.asdict(settings),
        )
        if not (residual or (image and not small)):
            raise ValueError(
                'the observer would see neither the image nor the features; leave residual '
                'True, or image True and small False'
            )
        self.training_settings = settings

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Train the observer on attacked normal images.

        Raises:
            NotApplicableError: the watched network is a classifier or not made of blocks.
            FloatingPointError: the training diverged.
        """
        training = self.training_settings
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            observer = self.build(watched, *frames[0][1].shape)
            initialise(
                observer, watched.network if self.settings['pretrained'] else None, watched.device
            )

            def observe(pixels: Tensor) -> tuple[Tensor, Tensor]:
                # The target answers as exactly as when it will be watched.
                with torch.no_grad(), torch.autocast(watched.device.type, enabled=False):
                    seen = watched.look(pixels, self._features(observer))
                    offset, inputs = self._inputs(watched, seen, observer)
                return offset + observer(*inputs), seen['logits']

            train(observer, observe, watched, frames, training, session)
        self.keep(observer)
        return self

    def activations(self, watched: Watched, images: Tensor) -> Sequence[str]:
        return self._features(self.network(watched, images))

    def map_of(self, watched: Watched, seen: Seen) -> Tensor:
        offset, inputs = self._inputs(watched, seen, self.built)
        return offset + self.call(*inputs)

    def build(self, watched: Watched, height: int, width: int) -> nn.Module:
        try:
            layout = Layout(watched.network, height, width)
        except (AttributeError, IndexError, ValueError) as error:
            raise NotApplicableError(
                f'{self.name} cannot copy this network ({error}); use a segmentation network '
                'made of modules'
            ) from error
        return SmallObserver(layout) if self.settings['small'] else ObserverNetwork(layout)

    def _features(self, observer: nn.Module) -> list[str]:
        blocks: tuple[str, ...] = observer.blocks  # type: ignore[assignment]
        return [f'pre/{name}' for name in blocks] if self.settings['residual'] else []

    def _inputs(
        self, watched: Watched, seen: Seen, observer: nn.Module
    ) -> tuple[Tensor, tuple[Tensor, dict[str, Tensor], Tensor]]:
        """Return the start of the score and what the observer reads."""
        x, logits, zeros = watched.normalize(seen['image']), seen['logits'], torch.zeros_like
        features = {name.partition('/')[2]: seen[name] for name in self._features(observer)}
        residual = self.settings['residual']
        offset = error_odds(logits[:, : watched.num_classes])
        image = x if self.settings['image'] else zeros(x)
        if not (residual and self.settings['confidence']):
            offset = zeros(offset)
        return offset, (image, features, logits if residual else zeros(logits))
