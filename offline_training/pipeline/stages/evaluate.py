"""Stage 5: figures on validation images with pasted unknowns; test sets stay untouched."""

from __future__ import annotations

from typing import Any

import numpy as np

from offline_training.learning.store import read_json, write_json
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.pipeline.context import Context
from offline_training.pipeline.monitored import MonitoredNetwork
from offline_training.synthesis.pasted_frames import IGNORE, pasted_frames
from offline_training.watched.graphs import MAPS
from ros2_ood_monitor.bundle.manifest import Fusion
from ros2_ood_monitor.bundle.reading import read_channel
from ros2_ood_monitor.inference.fusion import fused_logits


def read_fusion(context: Context) -> Fusion:
    """Return the fusion of this run's calibration."""
    path = context.output_dir / 'calibration.json'
    return read_channel(read_json(path), path.name).fusion


def run(context: Context) -> None:
    """Write evaluation.json: AP, FPR95, AUROC of every map at map resolution."""
    network = MonitoredNetwork.restore(context)
    fusion = read_fusion(context)
    curves = {name: PixelCurve() for name in ('fused', *MAPS)}
    # Other objects than those the fusion was fitted on.
    data = context.val_data
    frames = pasted_frames(data.images, data.labels, context.config.calibration.seed + 1)
    with context.progress() as bars:
        for frame in bars.track(frames, description='pasted val'):
            maps = dict(network.maps(frame.image))
            maps['fused'] = fused_logits(maps, fusion)
            counted = frame.truth != IGNORE
            for name, curve in curves.items():
                curve.update(maps[name][counted], frame.truth[counted] == 1)
    report: dict[str, Any] = {
        'protocol': 'val split with pasted unknowns, positive = unknown, void and rims excluded, '
        'all map pixels pooled',
        'frames': len(frames),
        'unknown_share': float(np.mean([np.mean(f.truth == 1) for f in frames])),
        'maps': {
            name: {'ap': curve.ap(), 'fpr95': curve.fpr95(), 'auroc': curve.auroc()}
            for name, curve in curves.items()
        },
    }
    if (warning := curves['fused'].flip_warning('fused')) is not None:
        context.console.print(warning)
    fused = report['maps']['fused']
    context.console.print(
        f'fused map on pasted val: AP {100 * fused["ap"]:.1f}, FPR95 {100 * fused["fpr95"]:.1f}'
    )
    write_json(context.output_dir / 'evaluation.json', report)
