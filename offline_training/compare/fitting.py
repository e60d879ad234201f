"""Fit every detector once; what is stored and still fits is read back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from offline_training.compare.config import Row
from offline_training.compare.experiment import Experiment
from offline_training.compare.source import Source
from offline_training.detectors import DETECTORS
from offline_training.detectors.base import Detector, NotApplicableError
from offline_training.detectors.combined import CombinedDetector
from offline_training.learning.session import Session
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import checkpoint_folder
from offline_training.pipeline.context import Context
from offline_training.pipeline.fitted import FILES, load_fitted
from offline_training.pipeline.running import stage_entry
from offline_training.watched.base import Watched
from ros2_ood_monitor.bundle.model_bundle import file_sha256
from ros2_ood_monitor.bundle.store import Entry


@dataclass(frozen=True, eq=False)
class Fitted:
    """A row of the table: a fitted detector, or why there is none."""

    detector: Detector | None
    seconds: float
    skipped: str | None
    digest: str
    """Changes with what the detector has learnt and with its settings."""


def build_all(rows: Mapping[str, Row]) -> dict[str, Detector]:
    """Return unfitted detectors by row; a wrong setting must not wait for hours of fitting.

    Raises:
        ConfigError: a setting does not exist or is out of its range.
    """
    return {name: _build(name, row) for name, row in rows.items()}


def fit_all(
    built: Mapping[str, Detector],
    experiment: Experiment,
    train: Source,
    folder: Path,
    console: Console,
) -> dict[str, Fitted]:
    """Return all detectors by the name of their row, stored in `folder`.

    Raises:
        ConfigError: a row asks for other settings than those of the run.
        StorageError: the run is not finished.
    """
    run = experiment.run
    fitted = {}
    for name, detector in built.items():
        properties: dict[str, Any] = {
            'detector': detector.name,
            'settings': detector.settings,
            'watched': experiment.properties,
        }
        if run is not None and _files_of_run(detector):
            properties['run'] = _taken(detector, run)
        elif type(detector).fit is not Detector.fit:
            properties['train'] = train.properties
        entry, path = Entry(folder, name, properties), folder / f'{name}.safetensors'
        reason = entry.why_not()
        if reason is not None:
            console.print(f'fitting {name}: {reason}')
            started = time.perf_counter()
            skipped = None
            try:
                if run is not None and _files_of_run(detector):
                    _take_from_run(name, detector, run, experiment.watched)
                else:
                    kept = checkpoint_folder(folder / 'checkpoints' / name, properties)
                    session = Session(kept / 'fit.pt', console=console)
                    detector.fit(experiment.watched, train.frames(), session)
                detector.eval().save(path)
            except NotApplicableError as error:
                skipped = str(error)
                console.print(f'left out: {skipped}')
            shutil.rmtree(folder / 'checkpoints' / name, ignore_errors=True)
            seconds = time.perf_counter() - started
            files = [] if skipped else [path]
            entry.record({'seconds': seconds, 'skipped': skipped}, files)
        elif entry.value()['skipped'] is None:
            detector = type(detector).load(path).to(experiment.watched.device)
        facts = entry.value()
        fitted[name] = Fitted(
            None if facts['skipped'] else detector,
            facts['seconds'],
            facts['skipped'],
            entry.digest(),
        )
    return fitted


def _build(name: str, row: Row) -> Detector:
    try:
        return DETECTORS[row.detector](**row.settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'detectors.{name}: {error}; correct the settings') from None


def _files_of_run(detector: Detector) -> list[str]:
    """Return the files of a run that a detector, or all its parts, can be taken from."""
    if type(detector) in FILES:
        return [FILES[type(detector)]]
    parts = detector.parts.values() if isinstance(detector, CombinedDetector) else ()
    return [FILES[type(part)] for part in parts]


def _taken(detector: Detector, run: Context) -> dict[str, Any]:
    """Return the properties of what `_take_from_run` takes."""
    paths = {name: run.output_dir / name for name in _files_of_run(detector)}
    taken: dict[str, Any] = {
        name: file_sha256(path)[:16] for name, path in paths.items() if path.is_file()
    }
    if type(detector) not in FILES:
        taken['data'] = stage_entry(run, 'flow').properties['data']
    return taken


def _take_from_run(name: str, detector: Detector, run: Context, watched: Watched) -> None:
    """Give a detector what the run has fitted of it; weights of parts are fitted on its val set.

    Raises:
        ConfigError: the row asks for other settings than the run was trained with.
        StorageError: the run is not finished.
    """
    if type(detector) in FILES:
        _take(name, detector, run)
        return
    assert isinstance(detector, CombinedDetector)
    for part in detector.parts.values():
        _take(name, part, run)
    # The run has shown its parts all of the training frames.
    detector.fit_weights(watched, run.val_data)


def _take(name: str, detector: Detector, run: Context) -> None:
    fitted = load_fitted(type(detector), run)
    for wanted, trained in zip(_configs(detector), _configs(fitted), strict=True):
        if wanted != trained:
            raise ConfigError(
                f'detectors.{name} asks for {wanted}, but {run.output_dir} was trained with '
                f'{trained}; give the row those settings, or leave --run out'
            )
    detector.adopt(fitted.state_dict())


def _configs(detector: Detector) -> list[object]:
    """Return the settings of the trainings of a detector and its parts."""
    return [each.config for each in detector.modules() if hasattr(each, 'config')]
