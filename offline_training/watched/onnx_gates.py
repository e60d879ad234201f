"""What an exported network must pass before it may enter a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from ros2_ood_monitor.bundle import manifest
from ros2_ood_monitor.bundle.model_bundle import file_sha256
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.engines.selection import available_backends, open_engine

ALLOWED = frozenset(
    (
        'Abs',
        'Add',
        'And',
        'ArgMax',
        'AveragePool',
        'BatchNormalization',
        'Cast',
        'Clip',
        'Concat',
        'Constant',
        'ConstantOfShape',
        'Conv',
        'ConvTranspose',
        'DepthToSpace',
        'Div',
        'Equal',
        'Exp',
        'Expand',
        'Gather',
        'Greater',
        'Identity',
        'Log',
        'MatMul',
        'Max',
        'MaxPool',
        'Mul',
        'Neg',
        'Not',
        'Or',
        'PRelu',
        'Pad',
        'ReduceMax',
        'ReduceMean',
        'ReduceSum',
        'Relu',
        'Reshape',
        'Resize',
        'Sigmoid',
        'Slice',
        'Split',
        'Sqrt',
        'Squeeze',
        'Sub',
        'Tanh',
        'Transpose',
        'Unsqueeze',
        'Where',
    )
)
"""Operators that TensorRT runs as well as the engines of `check_parity`; none is random.

A list, because most machines that export have no TensorRT that could be asked.
"""

RELATIVE_TOLERANCE = 1e-3
LEAST_RANK_CORRELATION = 0.999
LABEL_TOLERANCE = 1e-3
"""Share of labels that may differ, where rounding decides between two classes."""
TIED_SHARE = 1e-2
"""Share of values that may differ behind a max unpooling, where rounding decides which pixel of a
window was the highest."""


class GateError(RuntimeError):
    """An exported network failed a gate; the message names the network, the gate and a remedy."""


def check_graph(path: Path) -> list[str]:
    """Check validity and operators of an ONNX file; return the sorted operator names.

    Raises:
        GateError: the file is not valid, an operator is not allowed, or a pooling emits indices.
    """
    model = onnx.load(path)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise GateError(f'{path.name} is not valid ONNX ({error}); report this') from error
    operators = {node.op_type for node in model.graph.node}
    forbidden = sorted(operators - ALLOWED)
    if forbidden:
        raise GateError(
            f'{path.name} uses {", ".join(forbidden)}, which not every engine runs; rewrite the '
            'network with the operators in onnx_gates.ALLOWED'
        )
    for node in model.graph.node:
        if node.op_type == 'MaxPool' and len(node.output) > 1:
            raise GateError(
                f'{path.name} has a max pooling with indices, which TensorRT does not run; '
                'use offline_training.segmentation.backbones.unpooling'
            )
    return sorted(operators)


def read_network(path: Path) -> manifest.Network:
    """Return an ONNX file with the names, shapes and types of its inputs and outputs."""
    graph = onnx.load(path, load_external_data=False).graph
    return manifest.Network(path, file_sha256(path), _tensors(graph.input), _tensors(graph.output))


def check_parity(path: Path, module: nn.Module, feeds: Iterable[Mapping[str, NDArray]]) -> float:
    """Compare the CPU engines with torch on `feeds`; return the largest relative error of a float.

    The error is relative to the range of the output, or to its size if it is one number. Integer
    outputs (labels) may differ where two classes tie, in at most `LABEL_TOLERANCE` of the pixels;
    all outputs in `TIED_SHARE` of them if the graph unpools, which takes a test for equality.

    Raises:
        GateError: an engine cannot open the network, or an output differs by more than 1e-3 of its
            range, is not finite, or ranks pixels differently (Spearman below 0.999).
    """
    network = read_network(path)
    unpools = any(node.op_type == 'Equal' for node in onnx.load(path).graph.node)
    ties = TIED_SHARE if unpools else 0.0
    engines = {}
    worst = 0.0
    try:
        for backend in available_backends():
            if backend != 'tensorrt':  # its engines take minutes to build
                engines[backend] = open_engine(network, backend)
        for feed in feeds:
            with torch.inference_mode():
                result = module(*(torch.from_numpy(value) for value in feed.values()))
            expected = [result] if isinstance(result, Tensor) else list(result)
            for backend, engine in engines.items():
                actual = engine.run(feed)
                for tensor, theirs in zip(network.outputs, expected, strict=True):
                    name = f'{path.name}:{tensor.name} in {backend}'
                    ours = np.asarray(actual[tensor.name])
                    worst = max(worst, _difference(name, ours, theirs.numpy(), ties))
    except EngineError as error:
        raise GateError(f'{path.name} does not run: {error}') from error
    finally:
        for engine in engines.values():
            engine.close()
    return worst


def _difference(name: str, actual: NDArray, expected: NDArray, ties: float) -> float:
    if actual.shape != expected.shape:
        raise GateError(f'{name} is {actual.shape} but {expected.shape} in torch; do not ship')
    if actual.dtype.kind in 'iu':
        share = float(np.mean(actual != expected))
        if share > max(LABEL_TOLERANCE, ties):
            raise GateError(f'{name} differs from torch in {share:.2%} of the pixels; do not ship')
        return 0.0
    if not np.isfinite(expected).all():
        raise GateError(f'{name.partition(" ")[0]} is not finite in torch; clamp its inputs')
    if not np.isfinite(actual).all():
        raise GateError(f'{name} is not finite; clamp its inputs')
    size = float(np.abs(expected).max())
    # Of an output that hardly varies rounding is a large share of the range.
    span = max(float(np.ptp(expected)), 1e-3 * size) or 1.0
    if expected.size == 1:
        span = max(1.0, size)
    errors = np.abs(actual - expected) / span
    apart = errors > RELATIVE_TOLERANCE
    error = float(errors.max())
    if apart.mean() > ties:
        raise GateError(f'{name} differs from torch by {error:.2e} of its range; do not ship')
    # Order matters where pixels are scored, not among the channels of a tap.
    scores = actual.ndim < 4 or actual.shape[1] <= 2
    if scores and actual.size > 1000 and np.ptp(expected) > 1e-3:
        correlation = float(spearmanr(actual.ravel()[::7], expected.ravel()[::7])[0])
        if correlation < LEAST_RANK_CORRELATION:
            raise GateError(f'{name} ranks pixels differently (Spearman {correlation:.4f})')
    return error


def half_precision_finite(module: nn.Module, feed: Mapping[str, NDArray]) -> bool:
    """Tell whether a network of floats stays finite in float16, run in torch; it is left so.

    ONNX Runtime on a CPU keeps float32 between float16 nodes and would hide an overflow.
    """
    half = module.half()
    inputs = (torch.from_numpy(value) for value in feed.values())
    with torch.inference_mode():
        results = half(*(x.half() if x.is_floating_point() else x for x in inputs))
    return all(bool(torch.isfinite(each).all()) for each in results)


def _tensors(values: Iterable[Any]) -> tuple[manifest.Tensor, ...]:
    return tuple(
        manifest.Tensor(
            value.name,
            tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name,
        )
        for value in values
    )
