"""Detectors made of detectors: parts learn from most frames, their weights from the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from typing_extensions import Self

from offline_training.data.frames import Frames
from offline_training.detectors.layer_density.held_out import split
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.learning.session import QUIET, Session
from offline_training.watched.base import Watched


class CombinedDetector(OnePassDetector):
    """Base of detectors whose children are detectors; subclasses give `fit_weights`."""

    @property
    def parts(self) -> dict[str, OnePassDetector]:
        """The detectors that it combines, by attribute."""
        return {
            name: child
            for name, child in self.named_children()
            if isinstance(child, OnePassDetector)
        }

    @abstractmethod
    def fit_weights(self, watched: Watched, frames: Frames) -> None:
        """Learn all but the parts, on frames that the fitted parts have not seen.

        They have learnt their own frames by heart and would be trusted too much.

        Raises:
            ValueError: the frames do not show what the weights are learnt from.
        """

    def fit(self, watched: Watched, frames: Frames, session: Session = QUIET) -> Self:
        """Fit the parts on three quarters of the frames and the weights on the others.

        Raises:
            FloatingPointError: the training of a part diverged.
            ValueError: too few frames, or see `fit_weights`.
        """
        learned, held_out = split(len(frames))
        for name, part in self.parts.items():
            part.fit(watched, frames.subset(learned), session.part(name))
        self.fit_weights(watched, frames.subset(held_out))
        return self

    def activations(self, watched: Watched, images: Tensor) -> Sequence[str]:
        return [name for part in self.parts.values() for name in part.activations(watched, images)]
