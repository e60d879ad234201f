"""Stage 3: attack the frozen backbone and train the observer to see where it fails."""

from __future__ import annotations

import dataclasses

from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.detectors.observer.observer import Observer
from offline_training.learning import ranks
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context
from offline_training.segmentation.backbones.base import Backbone


def restore(context: Context, backbone: Backbone) -> Observer:
    """Return the trained observer of this run, frozen."""
    detector = LightObserver.load(context.output_dir / 'observer.safetensors')
    size = context.config.input
    observer = detector.build(context.watched(), size.height, size.width)
    weights = {n.replace('/', '.'): x for n, x in detector.weights.named_buffers()}
    observer.load_state_dict(weights, strict=False)  # all but the counters of batches
    return observer.eval().requires_grad_(False)


def run(context: Context) -> None:
    """Write observer.safetensors and observer.json (loss per epoch)."""
    detector = LightObserver(**dataclasses.asdict(context.config.observer))
    detector.fit(context.watched(), context.train_data, context.session('observer'))
    if ranks.rank() > 0:
        return
    detector.save(context.output_dir / 'observer.safetensors')
    assert detector.learned is not None
    write_json(context.output_dir / 'observer.json', {'history': detector.learned.history})
