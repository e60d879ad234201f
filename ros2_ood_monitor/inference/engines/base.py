"""What every inference engine has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ros2_ood_monitor.bundle.manifest import Tensor


class EngineError(RuntimeError):
    """An engine that cannot be built, opened or run; the message says what to do."""


class Array(Protocol):
    """A tensor in host or device memory; `np.asarray` brings it to the host."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    def __array__(self, dtype: Any = None, /, *, copy: bool | None = None) -> NDArray[Any]:
        """Return the content in host memory."""


class Engine(Protocol):
    """A network, or a chain of networks, ready to run; used by the thread that opened it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    description: str
    """Library, version, device and precision, for diagnostics."""

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once on `feeds` (inputs by name) and return the outputs by name.

        Results may live on the device and are valid until the next run. Raises EngineError.
        """

    def close(self) -> None:
        """Free the engine; running it afterwards is an error."""


def check_feeds(inputs: Sequence[Tensor], feeds: Mapping[str, Array]) -> None:
    """Raise EngineError unless `feeds` holds every input with its shape and dtype."""
    for tensor in inputs:
        feed = feeds.get(tensor.name)
        if feed is None:
            raise EngineError(f'input {tensor.name} is missing; feed it by name')
        if tuple(feed.shape) != tensor.shape or feed.dtype != np.dtype(tensor.dtype):
            raise EngineError(
                f'input {tensor.name} is {feed.dtype} {tuple(feed.shape)}, but the network takes '
                f'{tensor.dtype} {tensor.shape}'
            )


def check_interface(
    network: str, expected: Sequence[Tensor], actual: Sequence[Tensor], what: str
) -> None:
    """Raise EngineError unless the manifest's tensors are those of the network, in any order."""
    if set(expected) != set(actual):
        difference = sorted(set(actual) ^ set(expected), key=lambda tensor: tensor.name)
        text = ', '.join(f'{item.name} {item.dtype} {item.shape}' for item in difference)
        raise EngineError(
            f'{network}: its {what} are not those of the manifest (they differ in {text}); '
            'export the bundle again'
        )
