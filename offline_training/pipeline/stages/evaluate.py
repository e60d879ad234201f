"""Stage 5: figures on validation images with pasted unknowns; test sets stay untouched."""

from __future__ import annotations

from itertools import tee
from typing import Any

import numpy as np

from offline_training.data.base import VOID
from offline_training.detectors.fused.monitor import SOURCES, Monitor
from offline_training.learning.store import write_json
from offline_training.measures.pixel_curve import PixelCurve
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import load_fitted
from offline_training.synthesis.pasted_frames import pasted_frames
from ros2_ood_monitor.inference.fusion import fused_logits


def run(context: Context) -> None:
    """Write evaluation.json: AP, FPR95, AUROC of every map at map resolution."""
    monitor, watched = load_fitted(Monitor, context), context.watched()
    fusion = monitor.fusion
    curves = {name: PixelCurve() for name in ('fused', *SOURCES)}
    # Other objects than those the fusion was fitted on, of families that nothing was trained on.
    data, negatives = context.val_data, context.held_out_negatives()
    frames, again = tee(pasted_frames(data, context.config.calibration.seed + 1, negatives))
    unknown = 0.0
    with context.progress() as bars:
        stream = monitor.stream(watched, (frame.image for frame in again))
        pairs = zip(frames, stream, strict=True)
        for frame, maps in bars.track(pairs, len(data), description='pasted val'):
            unknown += float(np.mean(frame.truth == 1)) / len(data)
            maps['fused'] = fused_logits(maps, fusion)
            counted = frame.truth != VOID
            for name, curve in curves.items():
                curve.update(maps[name][counted], frame.truth[counted] == 1)
    report: dict[str, Any] = {
        'protocol': 'val split with pasted unknowns, positive = unknown, void and rims excluded, '
        'all map pixels pooled',
        'frames': len(data),
        'unknown_share': unknown,
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
