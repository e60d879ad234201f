"""A complete model bundle of hand-made ONNX graphs, small enough to build in any test.

The graphs have the contracts of the real ones. The backbone paints labels by colour, the flow
measures squared distance of the colours from grey, the observer is a linear layer on the taps.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ros2_ood_monitor.bundle.manifest import FusedMap, Fusion
from ros2_ood_monitor.bundle.model_bundle import write_bundle
from ros2_ood_monitor.inference.fusion import frame_statistic, fused_logits, single_maps
from ros2_ood_monitor.inference.preprocessing import prepare

WIDTH, HEIGHT, CLASSES = 64, 48, 3
MAP = (HEIGHT // 4, WIDTH // 4)
TYPES = {
    'uint8': TensorProto.UINT8,
    'int32': TensorProto.INT32,
    'float32': TensorProto.FLOAT,
}


def tensor(name: str, shape: tuple[int, ...], dtype: str = 'float32') -> dict:
    return {'name': name, 'shape': list(shape), 'dtype': dtype}


TENSORS = {
    'image': tensor('image', (1, HEIGHT, WIDTH, 3), 'uint8'),
    'labels': tensor('labels', (1, HEIGHT, WIDTH), 'int32'),
    'energy': tensor('energy', (1, 1, *MAP)),
    'tap0': tensor('tap0', (1, 3, HEIGHT // 2, WIDTH // 2)),
    'tap1': tensor('tap1', (1, 4, *MAP)),
    'density': tensor('density', (1, 1, *MAP)),
    'observer': tensor('observer', (1, 2, *MAP)),
    'brightness': tensor('brightness', (1, 4)),
}
CHAIN = {
    'backbone': (['image'], ['labels', 'energy', 'tap0', 'tap1']),
    'flow': (['tap1'], ['density']),
    'observer': (['tap0', 'tap1', 'energy'], ['observer']),
    'image': (['tap1'], ['brightness']),
}


def save_model(
    path: Path, nodes: list, inputs: list[dict], outputs: list[dict], **weights
) -> None:
    """Write a checked ONNX model; `weights` are its constants."""

    def info(entry: dict) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(entry['name'], TYPES[entry['dtype']], entry['shape'])

    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(
        nodes, path.stem, [info(i) for i in inputs], [info(o) for o in outputs], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def save_networks(directory: Path) -> dict[str, Path]:
    """Write the three networks, every weight drawn from a fixed seed; paths by name."""
    node, rng = helper.make_node, np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 1, shape).astype(np.float32)

    graphs = {
        'backbone': (
            [
                node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
                node('Transpose', ['float'], ['nchw'], perm=[0, 3, 1, 2]),
                node('Sub', ['nchw', 'mean'], ['centred']),
                node('Mul', ['centred', 'scale'], ['normal']),
                node('Conv', ['normal', 'head'], ['logits'], kernel_shape=[1, 1]),
                node('ArgMax', ['logits'], ['best'], axis=1, keepdims=0),
                node('Cast', ['best'], ['labels'], to=TensorProto.INT32),
                node('AveragePool', ['logits'], ['pooled'], kernel_shape=[4, 4], strides=[4, 4]),
                node('ReduceLogSumExp', ['pooled', 'axis'], ['lse'], keepdims=1),
                node('Neg', ['lse'], ['energy']),
                node('AveragePool', ['normal'], ['tap0'], kernel_shape=[2, 2], strides=[2, 2]),
                node(
                    'Conv', ['tap0', 'wide'], ['tap1'], kernel_shape=[3, 3], strides=[2, 2],
                    pads=[1, 1, 1, 1],
                ),
            ],
            {
                'mean': np.full((1, 3, 1, 1), 128, np.float32),
                'scale': np.full((1, 3, 1, 1), 1 / 64, np.float32),
                'head': weights(CLASSES, 3, 1, 1),
                'wide': weights(4, 3, 3, 3) / 5,
                'axis': np.array([1], np.int64),
            },
        ),
        'flow': (
            [
                node('Mul', ['tap1', 'tap1'], ['square']),
                node('ReduceMean', ['square', 'axis'], ['density'], keepdims=1),
            ],
            {'axis': np.array([1], np.int64)},
        ),
        'observer': (
            [
                node('AveragePool', ['tap0'], ['down'], kernel_shape=[2, 2], strides=[2, 2]),
                node('Concat', ['down', 'tap1', 'energy'], ['all'], axis=1),
                node('Conv', ['all', 'weight'], ['observer'], kernel_shape=[1, 1]),
            ],
            {'weight': weights(2, 8, 1, 1) / 3},
        ),
        'image': (
            [node('ReduceMean', ['tap1', 'axes'], ['brightness'], keepdims=0)],
            {'axes': np.array([2, 3], np.int64)},
        ),
    }  # fmt: skip
    paths = {}
    for name, (nodes, constants) in graphs.items():
        paths[name] = directory / f'{name}.onnx'
        inputs, outputs = ([TENSORS[key] for key in keys] for keys in CHAIN[name])
        save_model(paths[name], nodes, inputs, outputs, **constants)
    return paths


def normal_image(seed: int = 0) -> np.ndarray:
    """Return a grey uint8 RGB (48, 64, 3) image with a little noise: nothing unknown."""
    noise = np.random.default_rng(seed).integers(-6, 7, (HEIGHT, WIDTH, 3))
    return (128 + noise).astype(np.uint8)


def anomaly_image(seed: int = 0) -> np.ndarray:
    """Return the normal image with a glaring patch in rows 16 to 32, columns 24 to 44."""
    image = normal_image(seed)
    image[16:32, 24:44] = (255, 0, 255)
    return image


def reference_outputs(networks: dict[str, Path], image: np.ndarray) -> dict[str, np.ndarray]:
    """Run the three networks with onnx's own reference implementation (numpy)."""
    known = {'image': prepare(image, WIDTH, HEIGHT, 'rgb')}
    for name in CHAIN:
        evaluator = ReferenceEvaluator(str(networks[name]))
        feeds = {key: known[key] for key in evaluator.input_names}
        known |= dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
    return known


def fused_map(
    name: str, tensor: str, channel: int, mean: float, std: float, weight: float
) -> dict:
    return {
        'name': name,
        'tensor': tensor,
        'channel': channel,
        'mean': mean,
        'std': std,
        'weight': weight,
    }


FUSION = {
    'maps': [
        fused_map('energy', 'energy', 0, -1.1, 0.5, 0.1),
        fused_map('density', 'density', 0, 0.0, 1.0, 6.0),
        fused_map('unknown', 'observer', 0, -0.4, 1.0, 0.1),
        fused_map('error', 'observer', 1, -0.4, 1.0, 0.1),
    ],
    'bias': -4.0,
}


def channel(**changes: object) -> dict:
    """Return the channel `object` without a reference; `changes` replace its keys."""
    return {
        'fusion': FUSION,
        'regions': {'threshold': 0.5, 'min_area': 4},
        'frame_score': {'top_fraction': 0.05, 'reference': []},
        'alarms': [{'kind': 'cusum', 'drift': 1.0, 'threshold': 3.0}],
        'certificate': {
            'budget_per_hour': 1.0,
            'certified_per_hour': 1.0,
            'frame_rate': 10.0,
            'sequences': 4,
            'hours': 0.5,
        },
        **changes,
    }


DENSITY = channel(
    fusion={'maps': [fused_map('density', 'density', 0, 0.0, 1.0, 1.0)], 'bias': 0.0},
    regions=None,
)
"""A second channel, of the flow alone."""
IMAGE = channel(
    fusion=None,
    regions=None,
    frame_score=None,
    statistics=[
        {'name': 'brightness', 'tensor': 'brightness', 'index': 1, 'sign': 1, 'reference': []},
        {'name': 'too_normal', 'tensor': None, 'index': 0, 'sign': -1, 'reference': []},
    ],
    cause='unusual_image',
)
"""A channel of whole images, that reads no map: the mean of a tap and the object channel."""


def manifest(**changes: object) -> dict:
    """Return a manifest without hashes; `changes` replace top-level keys."""
    return {
        'schema_version': 2,
        'name': 'tiny',
        'input': {'width': WIDTH, 'height': HEIGHT, 'color_order': 'rgb', 'resize': 'linear'},
        'normalization': {'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.25, 0.25]},
        'classes': [
            {'name': name, 'color': color}
            for name, color in (
                ('road', [128, 64, 128]), ('sky', [70, 130, 180]), ('void', [0, 0, 0])
            )
        ],
        'void_label': 2,
        'backbone': {'architecture': 'tiny', 'num_classes': CLASSES},
        'networks': {
            name: {
                'file': f'{name}.onnx',
                'inputs': [TENSORS[key] for key in inputs],
                'outputs': [TENSORS[key] for key in outputs],
            }
            for name, (inputs, outputs) in CHAIN.items()
        },
        'channels': {'object': channel()},
        'tolerance': {'atol': 1e-3, 'rtol': 1e-3},
        'selftest': [],
        'metrics': {},
        'provenance': {'made_by': 'test/support/tiny_bundle.py'},
        **changes,
    }  # fmt: skip


def make_tiny_bundle(
    directory: Path, channels: dict[str, dict] | None = None, **changes: object
) -> Path:
    """Write the bundle to `directory`; `changes` replace top-level keys of its manifest.

    `channels` (default: `object` alone) get the reference of 19 normal images.
    """
    channels = copy.deepcopy(channels or {'object': channel()})
    with tempfile.TemporaryDirectory() as folder:
        networks = save_networks(Path(folder))
        files = {path.name: path for path in networks.values()}

        def statistics(image: np.ndarray) -> dict[str, float]:
            outputs = reference_outputs(networks, image)
            found = {}
            for name, document in channels.items():
                if (fusion := document['fusion']) is not None:
                    maps = tuple(FusedMap(**each) for each in fusion['maps'])
                    logits = fused_logits(single_maps(outputs, maps), Fusion(maps, fusion['bias']))
                    found[name] = frame_statistic(logits, 0.05)
            for name, document in channels.items():
                for each in document.get('statistics', ()):
                    tensor = each['tensor']
                    value = (
                        found['object'] if tensor is None else outputs[tensor][0, each['index']]
                    )
                    found[f'{name}.{each["name"]}'] = each['sign'] * float(value)
            return found

        selftest = []
        for name, image in (('normal', normal_image()), ('anomaly', anomaly_image())):
            place = f'selftest/{name}.png'
            files[place] = Path(folder, f'{name}.png')
            cv2.imwrite(str(files[place]), image[:, :, ::-1])
            alarming = name == 'anomaly'
            entry = {'image': place, 'statistics': statistics(image), 'alarming': alarming}
            selftest.append(entry)
        normal = [statistics(normal_image(seed)) for seed in range(1, 20)]
        for name, document in channels.items():
            if document['frame_score'] is not None:
                document['frame_score']['reference'] = sorted(each[name] for each in normal)
            for each in document.get('statistics', ()):
                key = f'{name}.{each["name"]}'
                each['reference'] = sorted(values[key] for values in normal)
        changes = {'channels': channels, 'selftest': selftest, **changes}
        write_bundle(directory, manifest(**changes), files)
    return directory
