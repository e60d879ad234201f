"""The watched network of a comparison, with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from offline_training.attacks.autoencoder_training import state_hash
from offline_training.pipeline.config import Config
from offline_training.pipeline.context import Context
from offline_training.watched.base import Watched
from ros2_ood_monitor import __version__


@dataclass(frozen=True, eq=False)
class Experiment:
    """A frozen network, its configuration and its classes."""

    watched: Watched
    config: Config
    class_names: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    weights: str
    run: Context | None
    """The training run that the network is from, if it is from one."""

    @cached_property
    def properties(self) -> Mapping[str, Any]:
        """Return what every result depends on: the network and the version of this package."""
        return {
            'architecture': self.config.backbone.architecture,
            'weights': state_hash(self.watched)[:16],
            'input': asdict(self.config.input),
            'version': __version__,
        }
