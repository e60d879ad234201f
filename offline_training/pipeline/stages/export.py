"""Stage 6: three ONNX networks through the gates, and the bundle that carries them."""

from __future__ import annotations

import copy
import platform
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from offline_training.learning.settings import to_dict
from offline_training.learning.store import read_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.model_card import model_card
from offline_training.pipeline.monitored import MonitoredNetwork
from offline_training.pipeline.stages.evaluate import read_fusion
from offline_training.synthesis.pasted_frames import pasted_frames
from offline_training.watched.graphs import BackboneGraph, TapGraph
from offline_training.watched.onnx_gates import check_graph, check_parity, half_precision_finite
from ros2_ood_monitor import __version__
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, SCHEMA_VERSION
from ros2_ood_monitor.bundle.model_bundle import ModelBundle, write_bundle
from ros2_ood_monitor.inference.engines.selection import available_backends
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits
from ros2_ood_monitor.inference.runner import Runner

OPSET = 18
GATE_FRAMES = 16


def run(context: Context) -> None:
    """Write the bundle to `bundle/`; an existing one survives any failure."""
    network = MonitoredNetwork.restore(context)
    backbone = BackboneGraph(
        network.normalize,
        network.backbone,
        _used_taps(network),
    )
    graphs: dict[str, BackboneGraph | TapGraph] = {
        'backbone': backbone,
        'flow': TapGraph(network.flow, network.flow.taps),
        'observer': TapGraph(network.observer, tuple(network.observer.strides)),
    }
    with tempfile.TemporaryDirectory(dir=context.output_dir) as folder:
        staging = Path(folder)
        files, gates = _export(context, graphs, staging)
        selftest = _selftest(context, network, staging)
        manifest = _manifest(context, staging, selftest, gates)
        card = staging / 'MODEL_CARD.md'
        card.write_text(model_card(manifest), encoding='utf-8')
        files['MODEL_CARD.md'] = card
        for frame in selftest:
            files[frame['image']] = staging / frame['image']
        write_bundle(context.output_dir / 'bundle', manifest, files)
    bundle = ModelBundle.load(context.output_dir / 'bundle')
    with Runner(bundle) as runner:
        runner.self_test()
    context.console.print(f'bundle: {bundle.directory} (self-test passed)')
    _tensorrt(context, bundle)


def _used_taps(network: MonitoredNetwork) -> tuple[str, ...]:
    """Taps that flow or observer read, observer's order first; the rest is not exported."""
    return tuple(dict.fromkeys((*network.observer.strides, *network.flow.taps)))


def _export(
    context: Context, graphs: Mapping[str, BackboneGraph | TapGraph], folder: Path
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Export every graph and pass it through the gates; return files and gate results."""
    size = context.config.input
    images = [image[None] for image in context.val_data.images[:GATE_FRAMES]]
    images += _extreme_images(size.height, size.width)
    taps: list[dict[str, NDArray]] = []
    files, gates = {}, {}
    for name, graph in graphs.items():
        graph = copy.deepcopy(graph).cpu().eval()
        path = folder / f'{name}.onnx'
        if isinstance(graph, BackboneGraph):
            outputs = ['labels', 'energy', *graph.tap_names]
            feeds: list[dict[str, NDArray]] = [{'image': image} for image in images]
        else:
            outputs = ['density' if name == 'flow' else 'observer']
            feeds = [{tap: frame[tap] for tap in graph.tap_names} for frame in taps]
        _to_onnx(graph, feeds[0], outputs, path)
        operators = check_graph(path)
        gates[name] = {'operators': operators, 'parity_error': check_parity(path, graph, feeds)}
        if isinstance(graph, BackboneGraph):
            taps = _taps(graph, feeds)
        else:
            gates[name]['float16_finite'] = half_precision_finite(graph, feeds[0])
        files[path.name] = path
        context.console.print(
            f'{path.name}: {len(operators)} kinds of operator, '
            f'parity error {gates[name]["parity_error"]:.1e}'
        )
    return files, gates


def _to_onnx(
    graph: nn.Module, feed: Mapping[str, NDArray], outputs: list[str], path: Path
) -> None:
    arguments = tuple(torch.from_numpy(value) for value in feed.values())
    torch.onnx.export(
        graph,
        arguments,
        path,
        input_names=list(feed),
        output_names=outputs,
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _taps(graph: BackboneGraph, feeds: list[dict[str, NDArray]]) -> list[dict[str, NDArray]]:
    frames = []
    with torch.inference_mode():
        for feed in feeds:
            _, _, *taps = graph(torch.from_numpy(feed['image']))
            frames.append(
                {
                    name: tap.contiguous().numpy()
                    for name, tap in zip(graph.tap_names, taps, strict=True)
                }
            )
    return frames


def _extreme_images(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Dark, glaring, noisy and striped images: what a broken camera or an attacker may show.

    All carry grain: on constant and repeated pixels rounding decides the ties in max pooling, so
    that no two engines agree; no camera delivers such images.
    """
    rng = np.random.default_rng(0)
    shape = (1, height, width, 3)
    grain = rng.integers(0, 4, shape, dtype=np.uint8)
    stripes = grain.copy()
    stripes[:, :, ::2] += 250
    return [grain, 255 - grain, rng.integers(0, 256, shape, dtype=np.uint8), stripes]


def _selftest(context: Context, network: MonitoredNetwork, folder: Path) -> list[dict[str, Any]]:
    """Store the most ordinary validation frame and the most anomalous pasted one."""
    fusion = read_fusion(context)
    top = context.config.calibration.top_fraction

    def statistic(image: NDArray[np.uint8]) -> float:
        return frame_statistic(fused_logits(network.maps(image), fusion), top)

    data = context.val_data
    normal = data.images[:GATE_FRAMES]
    pasted = pasted_frames(data.images, data.labels, context.config.calibration.seed)
    chosen = {
        'normal': min(normal, key=statistic),
        'anomaly': max((each.image for each in pasted[:GATE_FRAMES]), key=statistic),
    }
    (folder / 'selftest').mkdir()
    frames = []
    for name, image in chosen.items():
        place = f'selftest/{name}.png'
        bgr = image if context.config.input.color_order == 'bgr' else image[..., ::-1]
        cv2.imwrite(str(folder / place), bgr)
        frames.append(
            {
                'image': place,
                'statistics': {DEFAULT_CHANNEL: statistic(image)},
                'alarming': name == 'anomaly',
            }
        )
    return frames


def _tensors(values: Any) -> list[dict[str, Any]]:
    return [
        {
            'name': value.name,
            'shape': [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            'dtype': np.dtype(
                onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            ).name,
        }
        for value in values
    ]


def _manifest(
    context: Context, folder: Path, selftest: list[dict[str, Any]], gates: dict[str, Any]
) -> dict[str, Any]:
    config = context.config
    facts = read_json(context.output_dir / 'backbone.json')
    calibration = read_json(context.output_dir / 'calibration.json')
    networks = {}
    for name in gates:
        graph = onnx.load(folder / f'{name}.onnx').graph
        networks[name] = {
            'file': f'{name}.onnx',
            'inputs': _tensors(graph.input),
            'outputs': _tensors(graph.output),
        }
    classes = len(context.train.class_names)
    return {
        'schema_version': SCHEMA_VERSION,
        'name': config.name,
        'input': {
            'width': config.input.width,
            'height': config.input.height,
            'color_order': config.input.color_order,
            'resize': 'linear',
        },
        'normalization': {'mean': list(config.input.mean), 'std': list(config.input.std)},
        'classes': [
            {'name': name, 'color': list(color)}
            for name, color in zip(context.train.class_names, context.train.palette, strict=True)
        ],
        'void_label': classes if context.num_outputs > classes else None,
        'backbone': {'architecture': facts['architecture'], 'num_classes': facts['num_classes']},
        'networks': networks,
        'channels': {DEFAULT_CHANNEL: calibration},
        'tolerance': {'atol': config.export.atol, 'rtol': config.export.rtol},
        'selftest': selftest,
        'metrics': {
            'val_segmentation': {k: facts['val'][k] for k in ('miou', 'protocol')},
            'val_anomaly': read_json(context.output_dir / 'evaluation.json'),
        },
        'provenance': {
            'package': __version__,
            'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            'python': platform.python_version(),
            'torch': str(torch.__version__),
            'onnx': onnx.__version__,
            'gates': gates,
            'config': to_dict(config),
        },
    }


def _tensorrt(context: Context, bundle: ModelBundle) -> None:
    """Build TensorRT engines where a GPU is ready, or as `export.tensorrt` says."""
    wanted = context.config.export.tensorrt
    if wanted == 'never':
        return
    if wanted == 'auto' and 'tensorrt' not in available_backends():
        context.console.print(
            'TensorRT: no GPU is ready here, no engines built; on the robot: '
            'ood-monitor build-engines'
        )
        return
    from ros2_ood_monitor.inference.engines.build import build_engines

    for path in build_engines(bundle.directory, 'tensorrt', context.console.print):
        context.console.print(f'TensorRT: built {path.name}')
