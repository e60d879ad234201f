"""Engine on ONNX Runtime: the portable fallback, CPU only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from ros2_ood_monitor.bundle.manifest import Network, Tensor
from ros2_ood_monitor.inference.engines.base import (
    Array,
    EngineError,
    check_feeds,
    check_interface,
)

_DTYPES = {'tensor(uint8)': 'uint8', 'tensor(int32)': 'int32', 'tensor(float)': 'float32'}


class OnnxRuntimeEngine:
    """One network as an ONNX Runtime session on the CPU."""

    def __init__(self, network: Network, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(network.path), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # its exceptions have no common base but Exception
            raise EngineError(f'ONNX Runtime cannot open {network.path}: {error}') from error
        name = network.path.name
        check_interface(name, network.inputs, _tensors(self._session.get_inputs()), 'inputs')
        check_interface(name, network.outputs, _tensors(self._session.get_outputs()), 'outputs')
        self.inputs = network.inputs
        self.outputs = network.outputs
        self.description = f'ONNX Runtime {onnxruntime.__version__}, CPU, float32'

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run on host arrays; every result is a new array."""
        check_feeds(self.inputs, feeds)
        names = [tensor.name for tensor in self.outputs]
        try:
            results = self._session.run(
                names, {tensor.name: np.asarray(feeds[tensor.name]) for tensor in self.inputs}
            )
        except Exception as error:
            raise EngineError(f'ONNX Runtime failed: {error}') from error
        return dict(zip(names, results, strict=True))

    def close(self) -> None:
        """Free the session."""
        self._session = None


def _tensors(nodes: Any) -> list[Tensor]:
    return [Tensor(n.name, tuple(n.shape), _DTYPES.get(n.type, n.type)) for n in nodes]
