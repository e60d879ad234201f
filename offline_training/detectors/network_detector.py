"""Detectors that are networks shaped by the watched one: its taps, its size, its topology."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from offline_training.detectors.base import NotApplicableError
from offline_training.detectors.one_pass import OnePassDetector
from offline_training.watched.base import Watched

COUNT = 'num_batches_tracked'
"""Of batch normalisation, for training; nothing reads it afterwards."""


class NetworkDetector(OnePassDetector):
    """Base of detectors whose network takes its shape from the watched network.

    A file is read without a watched network, so the weights are held as plain buffers; subclasses
    give the shape of the network (`build`), train one and hand it to `keep`.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.weights = nn.Module()
        # In a tuple, because its tensors are stand-ins that belong into no state dictionary.
        self._shape: tuple[tuple[nn.Module, torch.device, int, int], nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy builds its own network: hooks of the copied one would call into the original.
        return {**self.__dict__, '_shape': None}

    @abstractmethod
    def build(self, watched: Watched, height: int, width: int) -> nn.Module:
        """Return the untrained network for images of this size; its weights are never used."""

    def keep(self, network: nn.Module) -> None:
        """Hold the weights of a trained network."""
        self._hold(
            {
                name: tensor.detach()
                for name, tensor in network.state_dict().items()
                if not name.endswith(COUNT)
            }
        )

    def network(self, watched: Watched, images: Tensor) -> nn.Module:
        """Return the network for images (B, H, W, 3), in evaluation mode, without weights.

        Raises:
            NotApplicableError: it was fitted on a network of another shape.
        """
        height, width = images.shape[1:3]
        key = watched.network, watched.device, height, width
        if self._shape is None or self._shape[0] != key:
            network = self.build(watched, height, width).eval()
            self._compare(network)
            self._shape = key, network
        return self._shape[1]

    @property
    def fitted(self) -> bool:
        return any(True for _ in self.weights.buffers())

    @property
    def built(self) -> nn.Module:
        """The network as `network` built it last, for the images that are being looked at."""
        assert self._shape is not None
        return self._shape[1]

    def activations(self, watched: Watched, images: Tensor) -> Sequence[str]:
        # Here, because nothing can be built while a graph is traced.
        self.network(watched, images)
        return ()

    def call(self, *inputs: Any) -> Tensor:
        """Run the built network with the weights that are held."""
        weights = {name.replace('/', '.'): value for name, value in self.weights.named_buffers()}
        return functional_call(self.built, weights, inputs)

    def _compare(self, network: nn.Module) -> None:
        held = {name.replace('/', '.'): x.shape for name, x in self.weights.named_buffers()}
        needed = {
            name: x.shape for name, x in network.state_dict().items() if not name.endswith(COUNT)
        }
        if held != needed:
            raise NotApplicableError(
                f'{self.name} was fitted on a network of another shape; fit it on this one'
            )

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take over saved tensors, whatever network they are of."""
        prefix = 'weights.'
        self._hold(
            {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
        )
        super().adopt(tensors)

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self.weights = nn.Module()
        for name, tensor in tensors.items():
            self.weights.register_buffer(name.replace('.', '/'), tensor.clone())
