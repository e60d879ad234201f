"""Engine on Intel OpenVINO: the default on CPUs.

OpenVINO would choose bfloat16 by itself on CPUs that have it; scores then differ from every other
engine, so float32 is asked for. A chain is merged into one graph before it is compiled, so
activations are never laid out again between the networks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

# Importing openvino sends a usage event to its vendor unless this module is absent; a robot's
# safety monitor opens no connections of its own.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

from ros2_ood_monitor.bundle.manifest import Network, Tensor  # noqa: E402
from ros2_ood_monitor.inference.engines.base import (  # noqa: E402
    Array,
    EngineError,
    check_feeds,
    check_interface,
)

if TYPE_CHECKING:
    from openvino import Model


class OpenVinoEngine:
    """A chain of networks as one compiled CPU model."""

    def __init__(
        self,
        networks: Sequence[Network],
        outputs: Sequence[str],
        threads: int | None = None,
    ) -> None:
        config: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': 'f32',
            # Pinned threads wait for their core when the camera or the planner has it.
            'ENABLE_CPU_PINNING': False,
        }
        if threads is not None:
            config['INFERENCE_NUM_THREADS'] = threads
        try:
            core = ov.Core()
            model, inputs, kept = _merge(core, networks, outputs)
            compiled = core.compile_model(model, 'CPU', config)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineError(f'OpenVINO cannot open {_names(networks)}: {error}') from error
        self.inputs = inputs
        self.outputs = kept
        version = ov.__version__.split('-')[0]
        self.description = f'OpenVINO {version}, CPU, float32'
        self._bound: dict[int, Array] = {}
        self._results: dict[str, NDArray[Any]] = {}
        for index, tensor in enumerate(self.outputs):
            result = np.empty(tensor.shape, tensor.dtype)
            self._request.set_output_tensor(index, ov.Tensor(result, shared_memory=True))
            self._results[tensor.name] = result

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run on host arrays without copying them; results are valid until the next run."""
        check_feeds(self.inputs, feeds)
        try:
            for index, tensor in enumerate(self.inputs):
                self._bind(index, feeds[tensor.name])
            self._request.infer()
        except RuntimeError as error:
            raise EngineError(f'OpenVINO failed: {error}') from error
        return self._results

    def _bind(self, index: int, feed: Array) -> None:
        if self._bound.get(index) is feed:
            return
        host = np.ascontiguousarray(feed)
        if not host.flags.writeable:  # OpenVINO shares only memory it could write to
            host = host.copy()
        self._request.set_input_tensor(index, ov.Tensor(host, shared_memory=True))
        self._bound[index] = feed if host is feed else host

    def close(self) -> None:
        """Free the compiled model."""
        self._bound.clear()
        self._results.clear()
        del self._request


def _merge(
    core: ov.Core, networks: Sequence[Network], outputs: Sequence[str]
) -> tuple[Model, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Join the networks by tensor name into one graph that gives only `outputs`.

    Returns the graph, its inputs and its outputs, both in the graph's order.
    """
    sources: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    parameters, inputs = [], []
    for network in networks:
        model = core.read_model(str(network.path))
        name = network.path.name
        for tensor, port in zip(
            network.inputs, _ports(name, network.inputs, model.inputs, 'inputs'), strict=True
        ):
            if tensor.name in sources:
                port.replace(sources[tensor.name])
            else:
                parameters.append(port.get_node())
                inputs.append(tensor)
                sources[tensor.name] = port
        for tensor, port in zip(
            network.outputs, _ports(name, network.outputs, model.outputs, 'outputs'), strict=True
        ):
            sources[tensor.name] = port.get_node().input_value(0)
            tensors[tensor.name] = tensor
    results = [ov.op.Result(sources[name]) for name in outputs]
    kept = tuple(tensors[name] for name in outputs)
    return ov.Model(results, parameters, 'chain'), tuple(inputs), kept


def _ports(name: str, expected: Sequence[Tensor], ports: Sequence[Any], what: str) -> list[Any]:
    """Return the ports of the `expected` tensors; a port may have several names."""
    wanted = {tensor.name for tensor in expected}
    found, actual = {}, []
    for port in ports:
        key = next(iter(wanted & port.get_names()), port.any_name)
        dtype = np.dtype(port.element_type.to_dtype()).name
        actual.append(Tensor(key, tuple(port.shape), dtype))
        found[key] = port
    check_interface(name, expected, actual, what)
    return [found[tensor.name] for tensor in expected]


def _names(networks: Sequence[Network]) -> str:
    return ', '.join(str(network.path) for network in networks)
