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
from offline_training.learning.settings import to_dict
from offline_training.pipeline.context import Context
from ros2_ood_monitor.bundle.model_bundle import file_sha256
from ros2_ood_monitor.bundle.store import Entry, changes


@dataclass(frozen=True)
class Stage:
    """A step from images to a bundle."""

    needs: tuple[str, ...]
    """Stages whose files it reads."""
    sections: tuple[str, ...]
    """Sections of the configuration that it reads besides `data` and `input`."""
    writes: tuple[str, ...]
    """Files in the result folder."""


STAGES: Mapping[str, Stage] = {
    'backbone': Stage((), ('backbone',), ('backbone.safetensors', 'backbone.json')),
    'flow': Stage(('backbone',), ('flow',), ('flow.safetensors', 'flow.json')),
    'observer': Stage(('backbone',), ('observer',), ('observer.safetensors', 'observer.json')),
    'calibrate': Stage(('backbone', 'flow', 'observer'), ('calibration',), ('calibration.json',)),
    'evaluate': Stage(
        ('backbone', 'flow', 'observer', 'calibrate'), ('calibration',), ('evaluation.json',)
    ),
    'export': Stage(
        ('backbone', 'flow', 'observer', 'calibrate', 'evaluate'),
        ('name', 'calibration', 'export'),
        ('bundle/manifest.json',),
    ),
}
"""Stages in order."""


def run_stages(context: Context, stages: Sequence[str], resume: bool) -> None:
    """Run stages in order; with `resume`, skip finished ones and continue interrupted ones."""
    console, output = context.console, context.output_dir
    for name in [name for name in STAGES if name in stages]:
        finished = Entry(output / 'stages', name, _made_from(context, name))
        # What a checkpoint belongs to: noted before there is one.
        begun = Entry(output / 'stages', f'{name}_begun', finished.properties)
        reason = finished.why_not()
        if resume and reason is None:
            console.print(f'{name}: finished before, skipped')
            continue
        if resume and finished.note.exists():
            console.print(f'{name}: runs again, {reason}')
        if not resume or begun.why_not() is not None:
            (output / 'checkpoints' / f'{name}.pt').unlink(missing_ok=True)
        finished.forget()
        begun.record()
        console.rule(name)
        began = time.monotonic()
        importlib.import_module(f'offline_training.pipeline.stages.{name}').run(context)
        seconds = time.monotonic() - began
        finished.record(
            {'seconds': round(seconds, 1)}, [output / file for file in STAGES[name].writes]
        )
        console.print(f'{name}: done in {seconds:.0f} s')


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
    properties = {name: values[name] for name in ('data', 'input', *STAGES[stage].sections)}
    del properties['data']['cache']
    folder = properties['data'].pop('data_dir')
    if context.config.data.dataset != 'synthetic':
        for split, dataset in (('train', context.train), ('val', context.val)):
            properties['data'][split] = data_identity(dataset, Path(folder))
    for key in ('weights', 'initial_weights'):
        if (path := properties.get('backbone', {}).get(key)) and Path(path).is_file():
            properties['backbone'][key] = file_sha256(Path(path))[:16]
    return properties


def _made_from(context: Context, stage: str) -> dict[str, Any]:
    """Return all that the result of a stage depends on; the place of a file is no part of it."""
    properties = _own_properties(context, stage)
    for earlier in STAGES[stage].needs:
        entry = Entry(context.output_dir / 'stages', earlier, {})
        properties[f'result of {earlier}'] = entry.digest()
    return properties
