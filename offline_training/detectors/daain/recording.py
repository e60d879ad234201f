"""Which activations of a network DAAIN samples from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from offline_training.detectors.base import NotApplicableError
from offline_training.watched.activations import Tap, recording

Layers = Literal['all', 'convolution', 'batch_norm']
Shape = tuple[int, int, int]
KINDS: Mapping[Layers, type[nn.Module]] = {'convolution': _ConvNd, 'batch_norm': _BatchNorm}


def chosen_modules(network: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """Return the leaf modules of the chosen kind by name, in the network's order."""
    return {
        name: module
        for name, module in network.named_modules()
        if (
            next(module.children(), None) is None
            if layers == 'all'
            else isinstance(module, KINDS[layers])
        )
    }


def activation_shapes(
    network: nn.Module, run: Callable[[], object], tap: Tap, layers: Layers
) -> Mapping[str, Shape]:
    """Return (C, H, W) of every activation by name while `run` sends one image through.

    Raises:
        NotApplicableError: the network has no such activation.
    """
    shapes: dict[str, Shape] = {}

    def see(name: str, activation: Tensor) -> None:
        # Some networks fold patches into the batch; those have no place in an image's sample.
        if len(activation) == 1:
            channels, height, width = activation.shape[1:]
            shapes[name] = (channels, height, width)

    with recording(chosen_modules(network, layers), tap, see):
        run()
    if not shapes:
        raise NotApplicableError(
            f'{type(network).__name__} has no activation for tap={tap!r}, layers={layers!r}; '
            "choose layers='all'"
        )
    return shapes
