"""Engine on NVIDIA TensorRT 10, 11 or TensorRT-RTX, which share one API.

Networks are strongly typed: the ONNX file's own types are the precision, and TensorFloat-32 is
off, so that results agree with the other engines. A half-precision engine would need a converted
ONNX file; there is no switch that claims it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ros2_ood_monitor.bundle.manifest import Network, Tensor
from ros2_ood_monitor.inference.engines.base import (
    Array,
    EngineError,
    check_feeds,
    check_interface,
)
from ros2_ood_monitor.inference.engines.cache import cached
from ros2_ood_monitor.inference.engines.cuda import CudaThread, DeviceArray, gpu_properties

_log = logging.getLogger(__name__)

PORTABLE = {'gpu': 'any', 'compute_capability': '8.0 and later', 'driver': 'any'}
"""TensorRT-RTX builds without a GPU for all of them and finishes on the device at load."""


def build_engine(onnx_path: Path, plan_path: Path) -> None:
    """Compile an ONNX file into a serialized engine at `plan_path`.

    TensorRT-RTX needs no GPU for it, TensorRT builds for the GPU it runs on. Raises EngineError
    with the parser's or builder's own words.
    """
    trt = _library()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    if builder is None:
        raise EngineError(f'{trt.__name__} cannot start: {logger.last_error}')
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = '; '.join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f'{trt.__name__} cannot parse {onnx_path}: {errors}')
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f'{trt.__name__} cannot build {onnx_path}: {logger.last_error}')
    plan_path.write_bytes(memoryview(plan))


def cached_engine(
    network: Network, directory: Path, progress: Callable[[str], None] = _log.info
) -> Path:
    """Return the serialized engine of `network` for this machine, built if it is not cached."""
    trt = _library()
    properties = {
        'network': network.path.name,
        'onnx_sha256': network.sha256,
        'library': trt.__name__,
        'version': trt.__version__,
        'precision': 'float32',
        'shapes': {t.name: list(t.shape) for t in (*network.inputs, *network.outputs)},
        **(PORTABLE if trt.__name__ == 'tensorrt_rtx' else gpu_properties()),
    }
    return cached(directory, properties, lambda path: build_engine(network.path, path), progress)


class TensorRtEngine:
    """One network as a TensorRT engine; results stay on the GPU as DeviceArray."""

    def __init__(self, network: Network, cache_dir: Path) -> None:
        trt = _library()
        self._thread = CudaThread.acquire()
        self._buffers: dict[str, DeviceArray] = {}
        try:
            plan = cached_engine(network, cache_dir)
            self._logger = _logger(trt)
            self._runtime = trt.Runtime(self._logger)
            self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
            if self._engine is None:
                raise EngineError(
                    f'{trt.__name__} cannot load {plan}: {self._logger.last_error}; '
                    'delete the file to build it again'
                )
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError(f'{trt.__name__}: {self._logger.last_error}')
            name = network.path.name
            check_interface(name, network.inputs, self._tensors(trt, 'INPUT'), 'inputs')
            check_interface(name, network.outputs, self._tensors(trt, 'OUTPUT'), 'outputs')
            self.inputs = network.inputs
            self.outputs = network.outputs
            self._results = {}
            for tensor in self.outputs:
                self._results[tensor.name] = self._buffer(tensor)
                self._context.set_tensor_address(tensor.name, self._buffer(tensor).pointer)
        except BaseException:
            self.close()
            raise
        where = self._thread.device_name
        self.description = f'{trt.__name__} {trt.__version__}, {where}, float32, plan {plan.stem}'

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Queue one run; results are valid until the next one, errors may come when read."""
        check_feeds(self.inputs, feeds)
        for tensor in self.inputs:
            feed = feeds[tensor.name]
            if not (isinstance(feed, DeviceArray) and feed.on(self._thread)):
                buffer = self._buffer(tensor)
                buffer.store(np.asarray(feed))
                feed = buffer
            self._context.set_tensor_address(tensor.name, feed.pointer)
        with self._thread.errors('cannot start the network'):
            started = self._context.execute_async_v3(self._thread.stream.handle)
        if not started:
            raise EngineError(f'TensorRT cannot run the network: {self._logger.last_error}')
        return self._results

    def close(self) -> None:
        """Free engine and buffers; the last engine of the thread gives the GPU back."""
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._context = self._engine = self._runtime = None
        self._thread.release()

    def _buffer(self, tensor: Tensor) -> DeviceArray:
        if tensor.name not in self._buffers:
            self._buffers[tensor.name] = DeviceArray(self._thread, tensor.shape, tensor.dtype)
        return self._buffers[tensor.name]

    def _tensors(self, trt: Any, mode: str) -> list[Tensor]:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            Tensor(
                name,
                tuple(engine.get_tensor_shape(name)),
                np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name,
            )
            for name in names
            if engine.get_tensor_mode(name) == getattr(trt.TensorIOMode, mode)
        ]


def _library() -> Any:
    try:
        import tensorrt

        return tensorrt
    except ImportError:
        pass
    try:
        import tensorrt_rtx

        return tensorrt_rtx
    except ImportError as error:
        raise EngineError(
            "TensorRT is not installed; type: pip install '.[tensorrt]' in the repository, or "
            "'.[tensorrt-rtx]' on a machine without a GPU, or choose another backend"
        ) from error


def _logger(trt: Any) -> Any:
    """Return a TensorRT logger that keeps the last error for the exception that will follow."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last_error = 'no reason given'

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last_error = message
            if severity != trt.ILogger.VERBOSE:
                _log.debug(message)

    return Logger()
