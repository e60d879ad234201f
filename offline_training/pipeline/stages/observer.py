"""Stage 3: attack the frozen backbone and train the observer to see where it fails."""

from __future__ import annotations

import dataclasses

from offline_training.detectors.observer.light_observer import LightObserver
from offline_training.learning import ranks
from offline_training.learning.store import write_json
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import FILES


def run(context: Context) -> None:
    """Write observer.safetensors and observer.json (loss per epoch)."""
    detector = LightObserver(**dataclasses.asdict(context.config.observer))
    detector.fit(context.watched(), context.train_data, context.session('observer'))
    if ranks.rank() > 0:
        return
    detector.save(context.output_dir / FILES[LightObserver])
    assert detector.learned is not None
    write_json(context.output_dir / 'observer.json', {'history': detector.learned.history})
