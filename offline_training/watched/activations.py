"""Looking at what passes through a network's modules, without changing the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

from torch import Tensor, nn

Tap = Literal['pre', 'post']
"""`pre`: the first input of a module, `post`: its (first) output."""


def _first_tensor(*values: Any) -> Tensor | None:
    return next((value for value in values if isinstance(value, Tensor)), None)


@contextmanager
def recording(
    modules: Mapping[str, nn.Module], tap: Tap, see: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `see(name, activation)` at every call of one of the modules, in execution order.

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
        for name, module in modules.items():
            if tap == 'pre':
                hooks.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
            else:
                hooks.append(module.register_forward_hook(after(name)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def activations(network: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the activations `names` during the calls inside; there are none of a missing module.

    `pre/encoder.norm` is what the module `encoder.norm` receives at its first call, and
    `post/encoder.norm:2` what its second call returns.
    """
    seen: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    with ExitStack() as stack:
        for tap in get_args(Tap):
            prefix = f'{tap}/'
            wanted = {n[len(prefix) :].partition(':')[0] for n in names if n.startswith(prefix)}

            def see(name: str, activation: Tensor, prefix: str = prefix) -> None:
                if prefix + name in names:
                    seen[prefix + name] = activation.clone()

            chosen = {name: modules[name] for name in wanted & modules.keys()}
            stack.enter_context(recording(chosen, tap, see))
        yield seen
