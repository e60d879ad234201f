"""Several engines run one after the other, tensors handed on by name and left where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ros2_ood_monitor.bundle.manifest import Network, Tensor
from ros2_ood_monitor.inference.engines.base import Array, Engine


def needed_networks(networks: Iterable[Network], outputs: Iterable[str]) -> list[Network]:
    """Return the networks, in their order, that give `outputs` or feed one that does."""
    wanted = set(outputs)
    needed = []
    for network in reversed(list(networks)):
        if wanted & {tensor.name for tensor in network.outputs}:
            wanted |= {tensor.name for tensor in network.inputs}
            needed.append(network)
    return needed[::-1]


class EngineChain:
    """Engines as one: each takes its inputs from the feeds or from an earlier engine's outputs."""

    def __init__(self, engines: Sequence[Engine], outputs: Sequence[str]) -> None:
        given: dict[str, Tensor] = {}
        inputs = []
        for engine in engines:
            inputs += [tensor for tensor in engine.inputs if tensor.name not in given]
            given |= {tensor.name: tensor for tensor in (*engine.inputs, *engine.outputs)}
        self._engines = tuple(engines)
        self.inputs = tuple(inputs)
        self.outputs = tuple(given[name] for name in outputs)
        self.description = engines[0].description

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run all engines; results are valid until the next run."""
        known = dict(feeds)
        for engine in self._engines:
            known.update(engine.run(known))
        return {tensor.name: known[tensor.name] for tensor in self.outputs}

    def close(self) -> None:
        """Close all engines, the last one first."""
        for engine in reversed(self._engines):
            engine.close()
