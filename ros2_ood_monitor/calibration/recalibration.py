"""A bundle calibrated again on new normal recordings, with the engine that will run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ros2_ood_monitor import __version__
from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, SCHEMA_VERSION, Channel
from ros2_ood_monitor.bundle.model_bundle import MANIFEST, ModelBundle, write_bundle
from ros2_ood_monitor.bundle.model_card import model_card
from ros2_ood_monitor.bundle.schema_1 import upgraded
from ros2_ood_monitor.bundle.store import Entry, fingerprint
from ros2_ood_monitor.calibration.channels import AlarmBudget, calibrate
from ros2_ood_monitor.calibration.recording import (
    RecordingError,
    columns,
    read_recording,
    record,
)
from ros2_ood_monitor.calibration.sequences import NormalSequence
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.recordings.sources import Source
from ros2_ood_monitor.supervision.frame_rate import LARGEST_RATE_CHANGE

CARD = 'MODEL_CARD.md'


@dataclass(frozen=True)
class Recalibration:
    """What was found: the channels of before and of after."""

    before: Mapping[str, Channel]
    after: Mapping[str, Channel]
    frame_rate: float


def recalibrate(
    bundle: ModelBundle,
    sources: Sequence[Source],
    output: Path,
    per_hour: float | None = None,
    backend: str = 'auto',
    resume: bool = False,
    show: Callable[[Iterable[None], Source], Iterable[None]] = lambda rows, source: rows,
) -> Recalibration:
    """Score `sources`, calibrate `bundle` on them and write the result to `output` in one step.

    `per_hour` are the false alarms asked for, those of the bundle if None. The scalars of each
    source go to `output`.records; with `resume` frames found there are not scored again. `show`
    wraps the progress of one source. Raises RecordingError, BundleError, EngineError,
    RunnerError, SourceError.
    """
    folder = output.with_name(f'{output.name}.records')
    folder.mkdir(parents=True, exist_ok=True)
    with Runner(bundle, backend) as runner:
        runner.self_test()
        engine = runner.description
        paths = [_record(folder, source, runner, resume, show) for source in sources]
    sequences, rate = _read(paths, columns(dict(bundle.channels)))
    asked = per_hour or sum(c.certificate.budget_per_hour for c in bundle.channels.values())
    after = calibrate(sequences, bundle.channels, AlarmBudget(asked, rate))
    recalibrated = {
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'package': __version__,
        'engine': engine,
        'sources': [source.name for source in sources],
    }
    _write(bundle, after, recalibrated, output)
    return Recalibration(bundle.channels, after, rate)


def _record(
    folder: Path,
    source: Source,
    runner: Runner,
    resume: bool,
    show: Callable[[Iterable[None], Source], Iterable[None]],
) -> Path:
    bundle = runner.bundle
    properties: dict[str, Any] = {
        'source': source.name,
        'networks': {name: network.sha256 for name, network in bundle.networks.items()},
        'fusion': asdict(bundle.channels[DEFAULT_CHANNEL])['fusion'],
        'min_area': bundle.regions.min_area,
        'columns': columns(dict(bundle.channels)),
        'engine': runner.description,
    }
    name = f'source-{fingerprint(source.name)}'
    path = folder / f'{name}.f64'
    entry = Entry(folder, name, properties)
    if not resume or entry.why_not() is not None:
        path.unlink(missing_ok=True)
        entry.record()
    for _ in show(record(path, source, runner), source):
        pass
    return path


def _read(paths: Sequence[Path], names: Sequence[str]) -> tuple[list[NormalSequence], float]:
    sequences: list[NormalSequence] = []
    rates = []
    for path in paths:
        own, rate = read_recording(path, names)
        sequences += own
        rates.append(rate)
    if max(rates) > LARGEST_RATE_CHANGE * min(rates):
        raise RecordingError(
            f'the recordings have {min(rates):.3g} to {max(rates):.3g} frames per second; '
            'calibrate on those of one camera rate'
        )
    return sequences, float(np.round(np.median(rates), 3))


def _write(
    bundle: ModelBundle,
    channels: Mapping[str, Channel],
    recalibrated: Mapping[str, Any],
    output: Path,
) -> None:
    """Write `output`; the networks, self-tests and built engines are those of `bundle`."""
    manifest = json.loads((bundle.directory / MANIFEST).read_text(encoding='utf-8'))
    if manifest['schema_version'] != SCHEMA_VERSION:
        manifest = upgraded(manifest)
    manifest['channels'] = {name: asdict(channel) for name, channel in channels.items()}
    manifest['provenance'] = {**manifest['provenance'], 'recalibrated': dict(recalibrated)}
    # What the old thresholds did not see says nothing about the new ones.
    manifest.pop('cannot_see', None)
    paths = [network.path for network in bundle.networks.values()]
    paths += [frame.path for frame in bundle.selftest]
    paths += [path for path in bundle.engines.rglob('*') if path.is_file()]
    files = {path.relative_to(bundle.directory).as_posix(): path for path in paths}
    with tempfile.TemporaryDirectory() as scratch:
        if {'val_anomaly', 'val_segmentation'} <= set(manifest['metrics']):
            card = Path(scratch) / CARD
            card.write_text(model_card(manifest), encoding='utf-8')
            files[CARD] = card
        write_bundle(output, manifest, files)
