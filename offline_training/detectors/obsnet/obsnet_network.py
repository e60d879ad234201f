"""The network of ObsNet: a copy of the watched one that also gets the watched one's features.

Any network whose modules are called one after the other can be observed: its blocks are the
outermost modules with weights, found by calling it once. ObsNet (Besnier et al., ICCV 2021,
section 3.1) adds the target's features at the input of the next block; here that is, for every
network alike, what the same block of the target receives.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAST_BLOCKS = 3
"""Blocks of the target that the small observer reads, as ObsNet's (up3, up2, up1)."""
WIDTH = 32
"""Channels of the small observer and of the head."""


class Layout:
    """Which blocks a network has, found by calling a copy without memory (device `meta`).

    `blocks` are the outermost modules with weights in the order of their calls, without the first,
    which the image enters; `channels` is what each receives, `outputs` the channels of the
    logits.

    Raises:
        ValueError: the network has one answer per image instead of per pixel.
    """

    def __init__(self, network: nn.Module, height: int, width: int):
        self.network = copy.deepcopy(network).to('meta').requires_grad_(False).eval()
        self.channels: dict[str, int] = {}
        depth = 0

        def enter(name: str) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                nonlocal depth
                if not depth and any(True for _ in module.parameters()):
                    self.channels.setdefault(name, inputs[0].shape[1])
                depth += 1

            return hook

        def leave(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal depth
            depth -= 1

        handles = []
        for name, module in self.network.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(enter(name)))
                handles.append(module.register_forward_hook(leave))
        logits, _ = self.network.features(  # type: ignore[operator]
            torch.empty(1, 3, height, width, device='meta')
        )
        for handle in handles:
            handle.remove()
        if logits.ndim != 4:
            raise ValueError('it has one answer per image instead of per pixel')
        self.blocks = tuple(self.channels)[1:]
        self.outputs: int = logits.shape[1]


class ObserverNetwork(nn.Module):
    """The target's topology and behind it a head with one logit per pixel.

    `forward` takes normalised images (B, 3, H, W), the target's features by block, which are
    added to what the same blocks receive here, and the target's logits, which are added to the own
    ones (zeros without residual connections); it returns logits (B, H, W). The head is that of
    ObsNet for DeepLabV3+ without its 3x3 window: one linear layer on the last block, as for
    SegNet, is too little for networks whose last block has no more channels than classes.
    """

    def __init__(self, layout: Layout):
        super().__init__()
        self.blocks = layout.blocks
        self.network = copy.deepcopy(layout.network).requires_grad_(True)
        with torch.device('meta'):
            self.head = nn.Sequential(
                nn.BatchNorm2d(layout.outputs),
                nn.Conv2d(layout.outputs, WIDTH, 1),
                nn.ReLU(),
                nn.Conv2d(WIDTH, 1, 1),
            )
        self._features: Mapping[str, Tensor] = {}
        for name in self.blocks:
            self.network.get_submodule(name).register_forward_pre_hook(self._adding(name))

    def _adding(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            if name not in self._features:
                return inputs
            return (inputs[0] + self._features[name], *inputs[1:])

        return hook

    def forward(self, x: Tensor, features: Mapping[str, Tensor], logits: Tensor) -> Tensor:
        self._features = features
        try:
            own = self.network.features(x)[0]  # type: ignore[operator]
        finally:
            self._features = {}
        return self.head(own + logits)[:, 0]


class SmallObserver(nn.Module):
    """The target's last blocks alone: ObsNet's small variant, which does not see the image.

    `forward` takes the target's features by block; from coarse to fine each is added to what came
    before. Of the images (B, 3, H, W) it needs the size alone, of the logits nothing. It
    returns logits (B, H, W).
    """

    def __init__(self, layout: Layout):
        super().__init__()
        self.blocks = layout.blocks[-LAST_BLOCKS:]
        with torch.device('meta'):
            self.enter = nn.ModuleList(
                nn.Conv2d(layout.channels[name], WIDTH, 1) for name in self.blocks
            )
            self.layers = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
                    nn.BatchNorm2d(WIDTH),
                    nn.ReLU(),
                )
                for _ in self.blocks
            )
            self.head = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, x: Tensor, features: Mapping[str, Tensor], logits: Tensor) -> Tensor:
        y: Tensor | None = None
        for name, enter, layer in zip(self.blocks, self.enter, self.layers, strict=True):
            own = enter(features[name])
            if y is not None:
                own = own + F.interpolate(y, size=own.shape[-2:], mode='bilinear')
            y = layer(own)
        assert y is not None
        return F.interpolate(self.head(y), size=x.shape[-2:], mode='bilinear')[:, 0]


def initialise(observer: nn.Module, target: nn.Module | None, device: torch.device) -> None:
    """Give an observer on device `meta` fresh weights (global random state), or the target's."""
    observer.to_empty(device=device)
    for module in observer.modules():
        if callable(reset := getattr(module, 'reset_parameters', None)):
            reset()
    if target is not None and isinstance(observer, ObserverNetwork):
        observer.network.load_state_dict(target.state_dict())
