"""Built engines on disk, each under the fingerprint of all that it depends on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ros2_ood_monitor.bundle.store import Entry, replace_file
from ros2_ood_monitor.inference.engines.base import EngineError

_log = logging.getLogger(__name__)


def cached(
    directory: Path,
    properties: Mapping[str, Any],
    build: Callable[[Path], None],
    progress: Callable[[str], None] = _log.info,
) -> Path:
    """Return `directory/<network>-<fingerprint>.plan`, built by `build(path)` if need be.

    `properties['network']` names what is built; engines of other properties stay beside it. The
    plan is built where no reader looks and then put in place, so that an interrupted build leaves
    nothing that could be taken for an engine. Says why it builds.
    """
    network = properties['network']
    entry = Entry(directory, network, properties, variants=True)
    plan = directory / f'{entry.name}.plan'
    reason = entry.why_not()
    if reason is None:
        return plan
    progress(f'building {network}: {reason}')
    try:
        replace_file(plan, build)
        entry.record(files=[plan])
    except OSError as error:
        raise EngineError(
            f'the engine cannot be stored in {directory} ({error}); make that folder writable or '
            'run `ood-monitor build-engines` as a user who may write there'
        ) from error
    progress(f'built {network}: {plan.name}, {plan.stat().st_size} bytes')
    return plan
