"""The network of ObsNet: a copy of the watched one that also gets the watched one's features.

Any network whose modules are called one after the other can be observed: its blocks are the
outermost modules with weights, found by calling it once. ObsNet (Besnier et al., ICCV 2021,
section 3.1) adds the target's features at the input of the next block; here that is, for every
network alike, what the same block of the target receives.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAST_BLOCKS = 3
"""Blocks of the target that the small observer reads, as ObsNet's (up3, up2, up1)."""
WIDTH = 32
"""Channels of the small observer."""


@contextmanager
def block_inputs(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what the modules `names` receive during the calls inside; first arguments only."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0]

        return hook

    handles = [
        network.get_submodule(name).register_forward_pre_hook(keep(name)) for name in names
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class Layout:
    """Which blocks a network has, found by calling a copy without memory (device `meta`).

    `blocks` are the outermost modules with weights in the order of their calls, `channels` what
    each receives, `last` the convolution that makes the logits.

    Raises:
        ValueError: the logits do not come from a convolution with one channel per class.
    """

    def __init__(self, network: nn.Module, height: int, width: int):
        self.network = copy.deepcopy(network).to('meta').requires_grad_(False).eval()
        self.channels: dict[str, int] = {}
        convolutions: list[str] = []
        depth = 0

        def enter(name: str) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                nonlocal depth
                if not depth and any(True for _ in module.parameters()):
                    self.channels.setdefault(name, inputs[0].shape[1])
                if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                    convolutions.append(name)
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
        self.blocks = tuple(self.channels)[1:]  # the picture itself enters the first
        self.last = convolutions[-1]
        outputs = self.network.get_submodule(self.last).out_channels
        if logits.ndim != 4 or outputs != logits.shape[1]:
            raise ValueError(
                f'the last convolution {self.last!r} has {outputs} outputs but the logits are '
                f'{tuple(logits.shape)}; an observer needs a segmentation network that ends in a '
                'convolution'
            )


class ObserverNetwork(nn.Module):
    """The target's topology with one logit per pixel.

    `forward` takes normalised pictures (B, 3, H, W) and the features of `block_inputs`, which are
    added to what the same blocks receive here, and returns logits (B, H, W).
    """

    def __init__(self, layout: Layout):
        super().__init__()
        self.blocks = layout.blocks
        self.network = copy.deepcopy(layout.network).requires_grad_(True)
        owner, _, leaf = layout.last.rpartition('.')
        old = layout.network.get_submodule(layout.last)
        assert isinstance(old, (nn.Conv2d, nn.ConvTranspose2d))
        more = (
            {'output_padding': old.output_padding} if isinstance(old, nn.ConvTranspose2d) else {}
        )
        last = type(old)(
            old.in_channels, 1, old.kernel_size, old.stride, old.padding,  # type: ignore[arg-type]
            dilation=old.dilation, bias=True, device='meta', **more,  # type: ignore[arg-type]
        )
        setattr(self.network.get_submodule(owner), leaf, last)
        self._features: Mapping[str, Tensor] = {}
        for name in self.blocks:
            self.network.get_submodule(name).register_forward_pre_hook(self._adding(name))

    def _adding(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            if name not in self._features:
                return inputs
            return (inputs[0] + self._features[name], *inputs[1:])

        return hook

    def forward(self, x: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        self._features = features
        try:
            logits: Tensor = self.network.features(x)[0]  # type: ignore[operator]
        finally:
            self._features = {}
        return logits[:, 0]


class SmallObserver(nn.Module):
    """The target's last blocks alone: ObsNet's small variant, which does not see the picture.

    `forward` takes pictures (B, 3, H, W) for their size alone and the features of `block_inputs`;
    from coarse to fine each is added to what came before. Logits are (B, H, W).
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
                    nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH),
                    nn.ReLU(),
                )
                for _ in self.blocks
            )
            self.head = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, x: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        y: Tensor | None = None
        for name, enter, layer in zip(self.blocks, self.enter, self.layers, strict=True):
            own = enter(features[name])
            if y is not None:
                own = own + F.interpolate(y, size=own.shape[-2:], mode='bilinear')
            y = layer(own)
        assert y is not None
        return F.interpolate(self.head(y), size=x.shape[-2:], mode='bilinear')[:, 0]


def initialise(observer: nn.Module, target: nn.Module | None, device: torch.device) -> None:
    """Give an observer on device `meta` fresh weights (global random state), or the target's.

    What the target has under the same name and in the same shape is copied, as in ObsNet.
    """
    observer.to_empty(device=device)
    for module in observer.modules():
        if callable(reset := getattr(module, 'reset_parameters', None)):
            reset()
    if target is not None:
        own = observer.state_dict()
        theirs = {f'network.{name}': tensor for name, tensor in target.state_dict().items()}
        observer.load_state_dict({
            name: theirs[name]
            if name in theirs and theirs[name].shape == tensor.shape
            else tensor
            for name, tensor in own.items()
        })
