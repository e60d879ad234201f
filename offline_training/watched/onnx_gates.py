"""What an exported network must pass before it may enter a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

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
"""Operators that ONNX Runtime, OpenVINO and TensorRT all run; none draws random numbers."""

RELATIVE_TOLERANCE = 1e-3
LEAST_RANK_CORRELATION = 0.999
LABEL_TOLERANCE = 1e-3
"""Share of labels that may differ, where rounding decides between two classes."""


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


def check_parity(path: Path, module: nn.Module, feeds: Sequence[Mapping[str, NDArray]]) -> float:
    """Compare ONNX Runtime with torch on `feeds`; return the largest relative error of a float.

    The error is relative to the range of the output. Integer outputs (labels) may differ where
    two classes tie, in at most `LABEL_TOLERANCE` of the pixels.

    Raises:
        GateError: an output differs by more than 1e-3 of its range, is not finite although
            torch's is, or ranks pixels differently (Spearman below 0.999).
    """
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for feed in feeds:
        actual = session.run(names, dict(feed))
        with torch.inference_mode():
            result = module(*(torch.from_numpy(value) for value in feed.values()))
        expected = [result] if isinstance(result, torch.Tensor) else list(result)
        for name, ours, theirs in zip(names, actual, expected, strict=True):
            worst = max(worst, _difference(f'{path.name}:{name}', ours, theirs.numpy()))
    return worst


def _difference(name: str, actual: NDArray, expected: NDArray) -> float:
    if actual.shape != expected.shape:
        raise GateError(f'{name} is {actual.shape} but {expected.shape} in torch; do not ship')
    if actual.dtype.kind in 'iu':
        share = float(np.mean(actual != expected))
        if share > LABEL_TOLERANCE:
            raise GateError(f'{name} differs from torch in {share:.2%} of the pixels; do not ship')
        return 0.0
    for place, values in (('ONNX Runtime', actual), ('torch', expected)):
        if not np.isfinite(values).all():
            raise GateError(f'{name} is not finite in {place}; clamp its inputs')
    span = float(np.ptp(expected)) or 1.0
    error = float(np.abs(actual - expected).max()) / span
    if error > RELATIVE_TOLERANCE:
        raise GateError(f'{name} differs from torch by {error:.2e} of its range; do not ship')
    if actual.size > 1000 and np.ptp(expected) > 1e-3:
        correlation = float(spearmanr(actual.ravel()[::7], expected.ravel()[::7])[0])
        if correlation < LEAST_RANK_CORRELATION:
            raise GateError(f'{name} ranks pixels differently (Spearman {correlation:.4f})')
    return error


def half_precision_finite(module: nn.Module, feed: Mapping[str, NDArray]) -> bool:
    """Tell whether a tap network stays finite in float16, run in torch.

    ONNX Runtime on a CPU keeps float32 between float16 nodes and would hide an overflow.
    """
    half = module.half()
    try:
        with torch.inference_mode():
            result = half(*(torch.from_numpy(value).half() for value in feed.values()))
    finally:
        module.float()
    return bool(torch.isfinite(result).all())
