"""The frozen network under watch, seen by detectors, attacks and the exporter alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from offline_training.watched.activations import activations
from offline_training.watched.graphs import energy_map, label_map

DERIVED: Mapping[str, Callable[[Tensor], Tensor]] = {'labels': label_map, 'energy': energy_map}
"""What is computed from the logits when it is asked for."""


class Seen(dict[str, Tensor]):
    """What one pass of the watched network gives for images (B, H, W, 3), by name.

    `image` as it was given, `logits` (B, C, H, W) or (B, C), `labels` int32 (B, H, W), `energy`
    (B, 1, H/4, W/4), every tap, and the activations that were asked for (`pre/norm`). Detectors
    take their tensors from here, in torch and in an exported network; `read` says which.
    """

    def __init__(self, given: Mapping[str, Tensor]):
        super().__init__(given)
        self.read: dict[str, None] = {}

    def __getitem__(self, name: str) -> Tensor:
        self.read[name] = None
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Tensor:
        if name not in DERIVED:
            raise KeyError(name)
        self[name] = DERIVED[name](self.get('logits'))  # type: ignore[arg-type]
        return self[name]

    @property
    def taps(self) -> dict[str, Tensor]:
        """The taps alone, in the network's order; looking at their shapes does not read them."""
        others = ('image', 'logits', *DERIVED)
        return {n: x for n, x in self.items() if n not in others and '/' not in n}


class TapNetwork(Protocol):
    """A segmentation network or classifier whose inner activations can be looked at."""

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W), or (B, C) of a classifier, and taps (B, C_i, H_i, W_i)."""


class Watched(nn.Module):
    """The frozen network that is watched, with its own normalisation.

    Images are (B, H, W, 3) in 0..255 and model colour order, uint8, or float32 where a gradient
    with respect to the pixels is wanted. Parameters never require gradients, and the network stays
    in evaluation mode: batch statistics must not move while it is watched or attacked.
    """

    def __init__(self, network: nn.Module, normalize: nn.Module, num_classes: int):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.normalize = normalize
        self.num_classes = num_classes
        """Classes with labels; output channels beyond them are void."""
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever a parent module does."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    @property
    def color_order(self) -> str:
        """Order of the colours of its images; a normalisation that says nothing takes RGB."""
        return getattr(self.normalize, 'color_order', 'rgb')

    def features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, C, H, W) and the taps of images (B, H, W, 3)."""
        logits, taps = self.network.features(self.normalize(images))  # type: ignore[operator]
        return logits, taps

    def look(self, images: Tensor, names: Collection[str] = ()) -> Seen:
        """Return what one pass over images (B, H, W, 3) gives, with the activations `names`."""
        with activations(self.network, names) as found:
            logits, taps = self.features(images)
        return Seen({'image': images, 'logits': logits, **taps, **found})

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits alone."""
        return self.features(images)[0]
