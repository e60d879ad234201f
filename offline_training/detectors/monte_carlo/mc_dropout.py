"""Monte-Carlo dropout (Gal and Ghahramani 2016) and its DropBlock form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.logit_scores.logit_scores import known_logits
from offline_training.detectors.monte_carlo.sampled_predictions import Measure, SampledDetector
from offline_training.learning.session import QUIET, Session
from offline_training.segmentation.backbones.dropblock import (
    DropBlock2D,
    drop_block,
    drop_block_mask,
)
from offline_training.watched.base import Watched

Drop = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@contextmanager
def sampling(
    network: nn.Module, layers: tuple[type[nn.Module], ...], drop: Drop, generator: torch.Generator
) -> Iterator[None]:
    """Let the modules of the types `layers` drop, inside the `with` block only.

    They stay in evaluation mode, where they pass their input on; a hook does the dropping. No
    training flag is touched, and the random numbers come from `generator` alone.
    """

    def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return drop(module, output, generator)

    handles = [
        module.register_forward_hook(hook)
        for module in network.modules()
        if isinstance(module, layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class McDropout(SampledDetector):
    """Disagreement of `passes` predictions with the network's own dropout layers at work.

    The network must contain `nn.Dropout`, `Dropout1d`, `Dropout2d` or `Dropout3d` modules; dropout
    called as a function cannot be found. ObsNet makes 50 passes.

    Raises:
        NotApplicableError: (fit and scores) the network has no such module.
        ValueError: `measure` is unknown or `passes` below 1.
    """

    name = 'mc_dropout'
    paper = (
        'Gal and Ghahramani, Dropout as a Bayesian Approximation: Representing Model Uncertainty '
        'in Deep Learning, 2016'
    )
    inputs = 'image'
    layers: ClassVar[tuple[type[nn.Module], ...]] = DROPOUTS

    def __init__(self, measure: Measure = 'predictive_entropy', passes: int = 16, seed: int = 0):
        super().__init__(measure, passes, seed)

    def _require_layers(self, watched: Watched) -> None:
        if not any(isinstance(module, self.layers) for module in watched.network.modules()):
            names = ', '.join(layer.__name__ for layer in self.layers)
            raise NotApplicableError(
                f'{self.name} needs a network with {names} modules but this '
                f'{type(watched.network).__name__} has none; train a backbone with dropout'
            )

    @staticmethod
    def drop(module: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """Drop values of (B, ...), whole channels for channel dropouts, alike in all samples."""
        assert isinstance(module, DROPOUTS)
        shape = x.shape[1:]
        if not isinstance(module, nn.Dropout):
            shape = torch.Size((shape[0], *[1] * (len(shape) - 1)))
        kept = torch.rand(shape, generator=generator) >= module.p
        scale = 1 / (1 - module.p) if module.p < 1 else 0.0
        return x * (kept * scale).to(x)

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Learn nothing, but refuse a network without layers to sample."""
        self._require_layers(watched)
        return self

    def samples(
        self, watched: Watched, images: Tensor, generator: torch.Generator
    ) -> Iterator[Tensor]:
        self._require_layers(watched)
        for _ in range(self.settings['passes']):
            with sampling(watched.network, self.layers, self.drop, generator):
                logits = known_logits(watched, images)
            yield logits


class McDropBlock(McDropout):
    """Like `McDropout` with the network's `DropBlock2D` layers."""

    name = 'mc_dropblock'
    paper = (
        'Deepshikha et al., Monte Carlo DropBlock for Modelling Uncertainty in Object Detection, '
        '2021'
    )
    inputs = 'image'
    layers = (DropBlock2D,)

    @staticmethod
    def drop(module: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """Drop blocks of (B, C, H, W), alike in all samples."""
        assert isinstance(module, DropBlock2D)
        _, channels, height, width = x.shape
        mask = drop_block_mask(
            (1, 1 if module.shared else channels, height, width),
            module.block_size,
            module.drop_prob,
            generator,
            x.device,
        )
        return drop_block(x, mask.to(x.dtype))
