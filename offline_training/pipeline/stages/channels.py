"""Fit the detectors of the channels that the configuration adds."""

from __future__ import annotations

from offline_training.learning.ranks import rank
from offline_training.learning.store import write_json
from offline_training.pipeline.added_channels import added_file, build_added, map_scale
from offline_training.pipeline.context import Context


def run(context: Context) -> None:
    """Write channels/NAME.safetensors for each, and channels.json: how high the maps are."""
    watched = context.watched()
    scales: dict[str, dict[str, float]] = {}
    for name, detector in build_added(context.config).items():
        context.console.print(f'channel {name}')
        detector.to(context.device)
        detector.fit(watched, context.train_data, context.session('channels').part(name))
        detector.eval()
        scales[name] = {}
        if not detector.has_frame_score:
            scales[name] = map_scale(detector, watched, context.train_data)
        if rank() == 0:
            added_file(context, name).parent.mkdir(exist_ok=True)
            detector.save(added_file(context, name))
    if rank() == 0:
        write_json(context.output_dir / 'channels.json', {'channels': scales})
