"""Stage 6: ONNX networks through the gates, and the bundle that carries them."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor

from offline_training.learning.settings import to_dict
from offline_training.learning.store import read_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.examine import examine
from offline_training.pipeline.normal_sequences import Measured
from offline_training.synthesis.cutouts import Cutouts
from offline_training.synthesis.pasted_frames import pasted_frames
from offline_training.watched.export import GATE_FRAMES, ExportedNetwork, export_watched
from ros2_ood_monitor import __version__
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, SCHEMA_VERSION
from ros2_ood_monitor.bundle.model_bundle import ModelBundle, write_bundle
from ros2_ood_monitor.bundle.model_card import model_card
from ros2_ood_monitor.frame import UInt8Array
from ros2_ood_monitor.inference.engines.selection import available_backends
from ros2_ood_monitor.inference.runner import Runner


def run(context: Context) -> None:
    """Write the bundle to `bundle/`; an existing one survives any failure."""
    config = context.config
    measured = Measured.of(context)
    images = context.val_data.images[:GATE_FRAMES]
    with tempfile.TemporaryDirectory(dir=context.output_dir) as folder:
        staging = Path(folder)
        networks = _networks(measured, torch.from_numpy(np.stack(images)), staging)
        for each in networks:
            context.console.print(
                f'{each.name}: {len(each.gates["operators"])} kinds of operator, parity error '
                f'{each.gates["parity_error"]:.1e}'
            )
        selftest = _selftest(context, measured, staging)
        manifest = _manifest(context, networks, selftest)
        files = [each.network.path for each in networks]
        files += [staging / frame['image'] for frame in selftest]
        places = {path.relative_to(staging).as_posix(): path for path in files}
        if config.export.examined_views:
            write_bundle(staging / 'examined', manifest, places)
            manifest['cannot_see'] = examine(context, staging / 'examined')
        card = staging / 'MODEL_CARD.md'
        card.write_text(model_card(manifest), encoding='utf-8')
        places[card.name] = card
        write_bundle(context.output_dir / 'bundle', manifest, places)
    bundle = ModelBundle.load(context.output_dir / 'bundle')
    with Runner(bundle) as runner:
        runner.self_test()
    context.console.print(f'bundle: {bundle.directory} (self-test passed)')
    _tensorrt(context, bundle)


def _networks(measured: Measured, images: Tensor, folder: Path) -> list[ExportedNetwork]:
    """Export what the channels read, the watched network first."""
    watched, monitor = measured.watched, measured.monitor
    detectors = [monitor, measured.image, *(each.detector for each in measured.added.values())]
    networks = [net for each in detectors for net in each.export(watched, images, folder)]
    read = [each.tensor for fusion in monitor.channels.values() for each in fusion.maps]
    return [export_watched('backbone', watched, networks, images, folder, read), *networks]


def _selftest(context: Context, measured: Measured, folder: Path) -> list[dict[str, Any]]:
    """Store the most ordinary validation frame and the most anomalous pasted one."""

    def statistic(image: UInt8Array) -> float:
        return measured.statistics(image)[DEFAULT_CHANNEL]

    data = context.val_data
    normal = data.images[:GATE_FRAMES]
    negatives = context.held_out_negatives()
    pasted = islice(pasted_frames(data, context.config.calibration.seed, negatives), GATE_FRAMES)
    chosen = {
        'normal': min(normal, key=statistic),
        'anomaly': max((each.image for each in pasted), key=statistic),
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
                'statistics': measured.statistics(image),
                'alarming': name == 'anomaly',
            }
        )
    return frames


def _manifest(
    context: Context, networks: Sequence[ExportedNetwork], selftest: list[dict[str, Any]]
) -> dict[str, Any]:
    config = context.config
    facts = read_json(context.output_dir / 'backbone.json')
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
        'networks': {each.name: each.entry() for each in networks},
        'channels': read_json(context.output_dir / 'calibration.json'),
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
            'gates': {each.name: dict(each.gates) for each in networks},
            'config': to_dict(config),
            'objects': _objects(config.observer.objects),
        },
    }


def _objects(folder: str | None) -> dict[str, Any] | None:
    """Say how many cut-outs were given, and under which licence."""
    if folder is None:
        return None
    cutouts = Cutouts(Path(folder))
    return {'cutouts': len(cutouts), 'licence': cutouts.licence or 'not stated'}


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
