"""Looking at what passes through a network's leaf modules, without changing the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from offline_training.detectors.base import NotApplicableError

Tap = Literal['pre', 'post']
"""`pre`: the first input of a module, `post`: its (first) output."""
Layers = Literal['all', 'convolution', 'batch_norm']
Shape = tuple[int, int, int]


KINDS: Mapping[Layers, type[nn.Module]] = {'convolution': _ConvNd, 'batch_norm': _BatchNorm}


def _chosen(module: nn.Module, layers: Layers) -> bool:
    if layers == 'all':
        return next(module.children(), None) is None
    return isinstance(module, KINDS[layers])


def _first_tensor(*values: Any) -> Tensor | None:
    return next((value for value in values if isinstance(value, Tensor)), None)


@contextmanager
def recording(
    network: nn.Module, tap: Tap, layers: Layers, see: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `see(name, activation)` at every call of a chosen leaf module, in execution order.

    A module's second call is named `name:2`, its third `name:3`: ResNets share one ReLU between
    several places, and all of them count. Only floating-point activations (B, C, H, W) and (B, C)
    are shown, the latter as (B, C, 1, 1). `see` must copy what it keeps, because modules that work
    in place change the tensor afterwards. All hooks are removed on leaving, also after an error.
    """
    calls: Counter[str] = Counter()

    def show(name: str, activation: Tensor | None) -> None:
        calls[name] += 1
        if activation is None or not activation.is_floating_point():
            return
        if activation.ndim == 2:
            activation = activation[:, :, None, None]
        if activation.ndim == 4:
            see(name if calls[name] == 1 else f'{name}:{calls[name]}', activation)

    def before(name: str) -> Callable[..., None]:
        return lambda _, inputs, named: show(name, _first_tensor(*inputs, *named.values()))

    def after(name: str) -> Callable[..., None]:
        return lambda _, __, output: show(
            name, _first_tensor(*(output if isinstance(output, (tuple, list)) else (output,)))
        )

    hooks = []
    try:
        for name, module in network.named_modules():
            if not _chosen(module, layers):
                continue
            if tap == 'pre':
                hooks.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
            else:
                hooks.append(module.register_forward_hook(after(name)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


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

    with recording(network, tap, layers, see):
        run()
    if not shapes:
        raise NotApplicableError(
            f'{type(network).__name__} has no activation for tap={tap!r}, layers={layers!r}; '
            "choose layers='all'"
        )
    return shapes
