"""The stages in order; with `--resume` only those whose settings or sources have changed."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offline_training.data.identity import data_identity
from offline_training.learning.ranks import rank, wait_for_all
from offline_training.learning.settings import to_dict
from offline_training.pipeline.context import Context
from offline_training.synthesis.cutouts import Cutouts
from ros2_ood_monitor.bundle.model_bundle import file_sha256
from ros2_ood_monitor.bundle.store import Entry, changes


@dataclass(frozen=True)
class Stage:
    """A step from images to a bundle."""

    needs: tuple[str, ...]
    """Stages whose files it reads."""
    sections: tuple[str, ...]
    """Sections or dotted keys of the configuration that it reads besides `data` and `input`."""
    writes: tuple[str, ...]
    """Files in the result folder."""
    learns: bool = False
    """Several processes may learn together; otherwise the first of them does it alone."""


STAGES: Mapping[str, Stage] = {
    'backbone': Stage((), ('backbone',), ('backbone.safetensors', 'backbone.json'), True),
    'flow': Stage(('backbone',), ('flow',), ('flow.safetensors', 'flow.json'), True),
    'observer': Stage(
        ('backbone',), ('observer',), ('observer.safetensors', 'observer.json'), True
    ),
    'left_out': Stage(
        ('backbone',), ('flow', 'observer', 'calibration.left_out_fits'), ('left_out.json',), True
    ),
    'image': Stage(('backbone',), ('image',), ('image.safetensors', 'image.json')),
    'channels': Stage(('backbone',), ('channels',), ('channels.json',), True),
    'calibrate': Stage(
        ('backbone', 'flow', 'observer', 'left_out', 'image', 'channels'),
        ('calibration', 'observer.objects'),
        ('monitor.safetensors', 'calibration.json'),
    ),
    'evaluate': Stage(
        ('backbone', 'flow', 'observer', 'image', 'channels', 'calibrate'),
        ('calibration',),
        ('evaluation.json',),
    ),
    'export': Stage(
        ('backbone', 'flow', 'observer', 'image', 'channels', 'calibrate', 'evaluate'),
        ('name', 'calibration', 'export'),
        ('bundle/manifest.json',),
    ),
}
"""Stages in order."""


def run_stages(context: Context, stages: Sequence[str], resume: bool) -> None:
    """Run stages in order; with `resume`, skip finished ones and continue interrupted ones.

    Of several processes all decide from the same notes, and the first alone writes.
    """
    for name in [name for name in STAGES if name in stages]:
        finished = Entry(context.output_dir / 'stages', name, _made_from(context, name))
        reason = finished.why_not()
        skipped = resume and reason is None
        wait_for_all()  # all have read what the first now changes
        if rank() == 0:
            if skipped:
                context.console.print(f'{name}: finished before, skipped')
            else:
                _begin(context, finished, resume, reason)
        wait_for_all()
        if skipped:
            continue
        began = time.monotonic()
        if rank() == 0 or STAGES[name].learns:
            importlib.import_module(f'offline_training.pipeline.stages.{name}').run(context)
        if rank() == 0:
            seconds = time.monotonic() - began
            written = [context.output_dir / file for file in STAGES[name].writes]
            finished.record({'seconds': round(seconds, 1)}, written)
            context.console.print(f'{name}: done in {seconds:.0f} s')
        wait_for_all()


def _begin(context: Context, finished: Entry, resume: bool, reason: str | None) -> None:
    """Say why a stage runs again, and keep its checkpoint only if it is of the same settings."""
    # What a checkpoint belongs to is noted before there is one.
    begun = Entry(finished.directory, f'{finished.kind}_begun', finished.properties)
    if resume and finished.note.exists():
        context.console.print(f'{finished.kind}: runs again, {reason}')
    if not resume or begun.why_not() is not None:
        for path in (context.output_dir / 'checkpoints').glob(f'{finished.kind}*.pt'):
            path.unlink()
    finished.forget()
    begun.record()
    context.console.rule(finished.kind)


def stage_entry(context: Context, stage: str) -> Entry:
    """Return what is stored of a stage, wanted with the present settings and data."""
    return Entry(context.output_dir / 'stages', stage, _own_properties(context, stage))


def other_settings(context: Context, stage: str) -> list[str]:
    """Return which settings or data of a finished or begun stage were others than now."""
    own = _own_properties(context, stage)
    found: list[str] = []
    for name in (stage, f'{stage}_begun'):
        stored = Entry(context.output_dir / 'stages', name, {}).stored_properties()
        if stored:
            settings = {key: value for key, value in stored.items() if key in own}
            found += changes(settings, json.loads(json.dumps(own)))
    return found


def _own_properties(context: Context, stage: str) -> dict[str, Any]:
    """Return settings and data that a stage depends on, apart from the results of others."""
    values = to_dict(context.config)
    properties: dict[str, Any] = {}
    for name in ('data', 'input', *STAGES[stage].sections):
        section, _, key = name.partition('.')
        properties[section] = {key: values[section][key]} if key else values[section]
    del properties['data']['cache']
    folder = properties['data'].pop('data_dir')
    if context.config.data.dataset != 'synthetic':
        for split, dataset in (('train', context.train), ('val', context.val)):
            properties['data'][split] = data_identity(dataset, Path(folder))
    for key in ('weights', 'initial_weights'):
        if (path := properties.get('backbone', {}).get(key)) and Path(path).is_file():
            properties['backbone'][key] = file_sha256(Path(path))[:16]
    if objects := properties.get('observer', {}).get('objects'):
        properties['observer']['objects'] = Cutouts(Path(objects)).identity
    return properties


def _made_from(context: Context, stage: str) -> dict[str, Any]:
    """Return all that the result of a stage depends on; the place of a file is no part of it."""
    properties = _own_properties(context, stage)
    for earlier in STAGES[stage].needs:
        entry = Entry(context.output_dir / 'stages', earlier, {})
        properties[f'result of {earlier}'] = entry.digest()
    return properties
