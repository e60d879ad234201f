"""A GPU made of numpy: the parts of pycuda and TensorRT that the engine calls.

Work on a stream runs only when the stream is synchronised, so code that reads or overwrites
memory too early gets wrong numbers here, as it would on a device. An "engine" is the path of an
ONNX file, run by onnx's reference implementation on the fake device memory.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from ros2_ood_monitor.inference.engines import tensorrt


class CudaError(Exception):
    pass


class FakeGpu:
    """Device memory, a log of copies, and a switch that breaks the context."""

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}
        self.addresses = itertools.count(4096, 4096)
        self.copies: list[str] = []
        self.contexts = 0
        self.broken = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace pycuda and TensorRT; a plan is the path of the ONNX file."""
        pycuda = self.pycuda()
        monkeypatch.setitem(sys.modules, 'pycuda', pycuda)
        monkeypatch.setitem(sys.modules, 'pycuda.driver', pycuda.driver)
        monkeypatch.setitem(sys.modules, 'tensorrt', self.tensorrt())

        def build(onnx_path: Path, plan_path: Path) -> None:
            plan_path.write_text(str(onnx_path))

        monkeypatch.setattr(tensorrt, 'build_engine', build)

    def array(self, pointer: int, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self.memory[pointer], dtype).reshape(shape)

    def pycuda(self) -> ModuleType:
        """Return a stand-in for the module `pycuda` with its `driver`."""
        gpu = self

        class Stream:
            def __init__(self) -> None:
                self.queue: list[Callable[[], None]] = []
                self.handle = id(self)
                STREAMS[self.handle] = self

            def synchronize(self) -> None:
                if gpu.broken:
                    raise CudaError('an illegal memory access was encountered')
                for work in self.queue:
                    work()
                self.queue.clear()

        class Allocation:
            def __init__(self, nbytes: int) -> None:
                self.pointer = next(gpu.addresses)
                gpu.memory[self.pointer] = bytearray(nbytes)

            def __int__(self) -> int:
                return self.pointer

            def __del__(self) -> None:
                gpu.memory.pop(self.pointer, None)

        class Context:
            def push(self) -> None:
                gpu.contexts += 1

            def pop(self) -> None:
                gpu.contexts -= 1

            def detach(self) -> None:
                pass

        class Device:
            def __init__(self, index: int) -> None:
                assert index == 0

            @staticmethod
            def count() -> int:
                return 1

            def name(self) -> str:
                return 'Fake GPU'

            def compute_capability(self) -> tuple[int, int]:
                return 8, 9

            def retain_primary_context(self) -> Context:
                return Context()

        def upload(pointer: int, host: np.ndarray, stream: Stream) -> None:
            gpu.copies.append(f'up {host.nbytes}')
            assert host.nbytes == len(gpu.memory[pointer])
            stream.queue.append(
                lambda: gpu.memory[pointer].__setitem__(slice(None), host.tobytes())
            )

        def download(host: np.ndarray, pointer: int, stream: Stream) -> None:
            gpu.copies.append(f'down {host.nbytes}')
            stream.queue.append(
                lambda: np.copyto(host, gpu.array(pointer, host.dtype, host.shape))
            )

        package, driver = ModuleType('pycuda'), ModuleType('pycuda.driver')
        members = {
            'Error': CudaError,
            'init': lambda: None,
            'Device': Device,
            'Stream': Stream,
            'mem_alloc': Allocation,
            'pagelocked_empty': np.empty,
            'memcpy_htod_async': upload,
            'memcpy_dtoh_async': download,
            'get_driver_version': lambda: 13000,
        }
        for name, member in members.items():
            setattr(driver, name, member)
        package.driver = driver
        return package

    def tensorrt(self) -> ModuleType:
        """Return a stand-in for the module `tensorrt`; plans hold the path of the ONNX file."""
        gpu = self
        dtypes = {1: np.float32, 2: np.uint8, 6: np.int32}

        class Logger:
            ERROR, INTERNAL_ERROR, VERBOSE = range(3)

        class TensorIOMode:
            INPUT, OUTPUT = 'in', 'out'

        class Context:
            def __init__(self, engine: Engine) -> None:
                self.engine = engine
                self.addresses: dict[str, int] = {}

            def set_tensor_address(self, name: str, pointer: int) -> bool:
                self.addresses[name] = pointer
                return True

            def execute_async_v3(self, handle: int) -> bool:
                if self.addresses.keys() != self.engine.ports.keys():
                    return False
                addresses = dict(self.addresses)

                def work() -> None:
                    ports, evaluator = self.engine.ports, self.engine.evaluator
                    feeds = {
                        name: gpu.array(addresses[name], *ports[name][1:]).copy()
                        for name in evaluator.input_names
                    }
                    results = evaluator.run(None, feeds)
                    for name, value in zip(evaluator.output_names, results, strict=True):
                        np.copyto(gpu.array(addresses[name], *ports[name][1:]), value)

                STREAMS[handle].queue.append(work)
                return True

        class Engine:
            def __init__(self, path: str) -> None:
                graph = onnx.load(path).graph
                self.evaluator = ReferenceEvaluator(path)
                self.ports = {
                    port.name: (
                        mode,
                        dtypes[port.type.tensor_type.elem_type],
                        tuple(size.dim_value for size in port.type.tensor_type.shape.dim),
                    )
                    for mode, ports in (('in', graph.input), ('out', graph.output))
                    for port in ports
                }
                self.num_io_tensors = len(self.ports)

            def get_tensor_name(self, index: int) -> str:
                return list(self.ports)[index]

            def get_tensor_mode(self, name: str) -> str:
                return self.ports[name][0]

            def get_tensor_dtype(self, name: str) -> Any:
                return self.ports[name][1]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return self.ports[name][2]

            def create_execution_context(self) -> Context:
                return Context(self)

        class Runtime:
            def __init__(self, logger: Logger) -> None:
                self.logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
                if not Path(plan.decode()).exists():
                    self.logger.log(Logger.ERROR, 'magic tag does not match')
                    return None
                return Engine(plan.decode())

        module = ModuleType('tensorrt')
        members = {
            'ILogger': Logger,
            'TensorIOMode': TensorIOMode,
            'Runtime': Runtime,
            'nptype': lambda dtype: dtype,
            '__version__': '10.fake',
        }
        for name, member in members.items():
            setattr(module, name, member)
        return module


STREAMS: dict[int, Any] = {}
