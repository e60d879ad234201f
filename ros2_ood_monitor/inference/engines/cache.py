"""Built engines on disk, each under the fingerprint of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ros2_ood_monitor.bundle.model_bundle import file_sha256
from ros2_ood_monitor.inference.engines.base import EngineError

_log = logging.getLogger(__name__)


def fingerprint(properties: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that change with any of `properties` (JSON values)."""
    text = json.dumps(properties, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cached(
    directory: Path,
    properties: Mapping[str, Any],
    build: Callable[[Path], None],
    progress: Callable[[str], None] = _log.info,
) -> Path:
    """Return `directory/<fingerprint>.plan`, calling `build` with a path to write to if need be.

    `properties['network']` names what is built. A sidecar `.json` keeps the properties and the
    plan's SHA-256. The plan is built where no reader looks and then put in place, so that an
    interrupted build leaves nothing that could be taken for an engine. Says why it builds.
    """
    plan = directory / f'{fingerprint(properties)}.plan'
    reason = _why_not(plan, properties)
    if reason is None:
        return plan
    progress(f'building {properties["network"]}: {reason}')
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.building-', dir=directory) as folder:
            built = Path(folder, 'plan')
            build(built)
            sidecar = Path(folder, 'json')
            content = {'properties': dict(properties), 'sha256': file_sha256(built)}
            sidecar.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
            os.replace(built, plan)
            os.replace(sidecar, plan.with_suffix('.json'))
    except OSError as error:
        raise EngineError(
            f'the engine cannot be stored in {directory} ({error}); make that folder writable or '
            'run `ood-monitor build-engines` as a user who may write there'
        ) from error
    progress(f'built {properties["network"]}: {plan.name}, {plan.stat().st_size} bytes')
    return plan


def _why_not(plan: Path, properties: Mapping[str, Any]) -> str | None:
    """Return why `plan` cannot be used, or None if it can."""
    if plan.exists():
        sidecar = _sidecar(plan.with_suffix('.json'))
        if sidecar.get('properties') == properties and sidecar.get('sha256') == file_sha256(plan):
            return None
        return f'{plan.name} in the cache is damaged or incomplete'
    others = [_sidecar(path).get('properties', {}) for path in plan.parent.glob('*.json')]
    others = [other for other in others if other.get('network') == properties['network']]
    if not others:
        return 'no engine in the cache'
    # The engine that differs least tells best what has changed.
    changes = min(
        (
            [
                f'{key} was {other.get(key)} and is {value}'
                for key, value in properties.items()
                if other.get(key) != value
            ]
            for other in others
        ),
        key=len,
    )
    return f'the engine in the cache does not fit: {", ".join(changes)}'


def _sidecar(path: Path) -> dict[str, Any]:
    """Return a sidecar's content, empty if it cannot be read: the engine is then built again."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
