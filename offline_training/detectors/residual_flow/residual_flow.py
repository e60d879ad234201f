"""Residual Flow (Zisselman & Tamar, "Deep Residual Flow for Out of Distribution Detection", 2020).

The features of a class at a layer are nearly, but not quite, Gaussian. The flow starts exactly at
the Gaussian, so at the Mahalanobis score, and learns what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.layer_density.class_density import ClassDensity
from offline_training.detectors.layer_density.held_out import split
from offline_training.detectors.layer_density.layer_densities import (
    LayerDensities,
    Vectors,
    Weighing,
)
from offline_training.detectors.layer_density.residual_couplings import ClassCouplings
from offline_training.detectors.residual_flow.coupling_training import by_class, train_couplings
from offline_training.learning.session import QUIET, Session
from offline_training.watched.base import Watched


class ResidualFlow(LayerDensities):
    """One residual flow per class and layer on pooled taps; whole frames only.

    The arguments that `LayerDensities` does not have:
        couplings: of every flow, two per permutation. The original has 10.
        hidden: width of their sub-networks; the original's is that of the features, 500 networks
            of up to 512 channels for CIFAR-100, far more than some hundred frames can fill.
        steps: most training steps per layer; every class keeps its best state. Neighbouring
            frames of a drive are alike: with many more steps and couplings the likelihood of
            held-out frames still grows, while anomalies are told less well.
        learning_rate: of Adam. The original's 1e-5 wants 2000 passes.
        flow_batch: vectors per class and step.
    """

    name = 'residual_flow'
    paper = 'Zisselman and Tamar, Deep Residual Flow for Out of Distribution Detection, 2020'
    inputs = 'logits, taps'

    def __init__(
        self,
        taps: Sequence[str] | None = None,
        min_share: float = 0.005,
        whole_frame: bool = True,
        weighing: Weighing = 'regression',
        cut: float = 1e-3,
        epsilon: float = 2.5,
        noise: float = 3.0,
        magnitudes: Sequence[float] = (0.0,),
        batch_size: int = 8,
        seed: int = 0,
        couplings: int = 4,
        hidden: int = 16,
        steps: int = 100,
        learning_rate: float = 1e-3,
        flow_batch: int = 64,
    ):
        super().__init__(
            taps,
            min_share,
            whole_frame,
            weighing,
            cut,
            epsilon,
            noise,
            magnitudes,
            batch_size,
            seed,
            couplings=couplings,
            hidden=hidden,
            steps=steps,
            learning_rate=learning_rate,
            flow_batch=flow_batch,
        )

    def _couplings(self, classes: int, dimensions: int) -> ClassCouplings:
        generator = torch.Generator().manual_seed(self.settings['seed'])
        return ClassCouplings(
            classes, dimensions, self.settings['couplings'], self.settings['hidden'], generator
        )

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Fit Gaussians and flows on three quarters of the frames, all else on the others.

        Raises:
            ValueError: too few frames.
            NotApplicableError: the network does not have one of the taps.
        """
        learned, held_out = split(len(frames.images))
        train = self._collect(watched, frames, learned)
        valid = self._collect(watched, frames, held_out)
        self._fit_gaussians(train)
        for density, here, there in zip(self._layers(), train, valid, strict=True):
            assert density.couplings is not None
            train_couplings(
                density.couplings,
                _whitened(density, here),
                _whitened(density, there),
                self.settings['steps'],
                self.settings['learning_rate'],
                self.settings['flow_batch'],
                self.settings['seed'],
                session,
            )
        self._calibrate(watched, frames, held_out, valid)
        return self.requires_grad_(False)


def _whitened(density: ClassDensity, vectors: Vectors) -> tuple[Tensor, Tensor]:
    values, classes, count = vectors
    return by_class(density.gaussian.of_class(values, classes), classes, count)
