"""Choosing and opening an engine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ros2_ood_monitor.bundle.manifest import Network
from ros2_ood_monitor.inference.engines.base import Engine, EngineError
from ros2_ood_monitor.inference.engines.chain import EngineChain, needed_networks

BACKENDS = ('tensorrt', 'openvino', 'onnxruntime')
"""Fastest first."""


def available_backends() -> list[str]:
    """Return the backends that can run on this machine, fastest first."""
    backends = [name for name in ('openvino', 'onnxruntime') if find_spec(name)]
    if find_spec('pycuda') and (find_spec('tensorrt') or find_spec('tensorrt_rtx')):
        from ros2_ood_monitor.inference.engines.cuda import gpu_ready

        if gpu_ready():
            backends.insert(0, 'tensorrt')
    return backends


def open_engine(
    network: Network,
    backend: str = 'auto',
    cache_dir: Path | None = None,
    threads: int | None = None,
) -> Engine:
    """Open one network with all its outputs; see `open_chain`."""
    outputs = [tensor.name for tensor in network.outputs]
    return open_chain([network], outputs, backend, cache_dir, threads)


def open_chain(
    networks: Sequence[Network],
    outputs: Sequence[str],
    backend: str = 'auto',
    cache_dir: Path | None = None,
    threads: int | None = None,
) -> Engine:
    """Open networks that feed each other by tensor name as one engine that gives `outputs`.

    `backend` is one of BACKENDS, or 'auto' for the fastest available one. Built TensorRT engines
    are kept in `cache_dir` (default: `engines` beside the ONNX file). `threads` limits the CPU
    engines. A network that no output needs is not opened. Nothing leaves the device between
    networks. Raises EngineError.
    """
    if backend == 'auto':
        available = available_backends()
        if not available:
            raise EngineError(
                'no inference engine is installed; '
                "type: pip install '.[openvino]' or '.[onnxruntime]' in the repository"
            )
        backend = available[0]
    if backend not in BACKENDS:
        raise EngineError(f'backend {backend!r} is unknown; use auto or one of {BACKENDS}')
    if threads is not None and threads < 1:
        raise EngineError(f'threads is {threads}; use 1 or more')
    try:
        return _open(needed_networks(networks, outputs), outputs, backend, cache_dir, threads)
    except ImportError as error:
        raise EngineError(
            f'backend {backend} cannot be imported ({error}); install it or choose another one'
        ) from error


def _open(
    networks: Sequence[Network],
    outputs: Sequence[str],
    backend: str,
    cache_dir: Path | None,
    threads: int | None,
) -> Engine:
    if backend == 'openvino':
        from ros2_ood_monitor.inference.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(networks, outputs, threads)
    engines: list[Engine] = []
    try:
        for network in networks:
            if backend == 'onnxruntime':
                from ros2_ood_monitor.inference.engines.onnxruntime import OnnxRuntimeEngine

                engines.append(OnnxRuntimeEngine(network, threads))
            else:
                from ros2_ood_monitor.inference.engines.tensorrt import TensorRtEngine

                folder = cache_dir or network.path.parent / 'engines'
                engines.append(TensorRtEngine(network, folder))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return EngineChain(engines, outputs)
