"""Fit every detector once; what was fitted before is read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from offline_training.compare.config import Entry
from offline_training.compare.run_detectors import take_from_run
from offline_training.compare.watching import Experiment
from offline_training.data.frames import Frames
from offline_training.detectors import DETECTORS
from offline_training.detectors.base import Detector, NotApplicableError
from offline_training.learning.settings import ConfigError
from offline_training.learning.store import StorageError, read_json, write_json


@dataclass(frozen=True, eq=False)
class Fitted:
    """A row of the table: a fitted detector, or why there is none."""

    detector: Detector | None
    seconds: float
    skipped: str | None


def build_all(entries: Mapping[str, Entry]) -> dict[str, Detector]:
    """Return unfitted detectors by row; a wrong setting must not wait for hours of fitting.

    Raises:
        ConfigError: a setting does not exist or is out of its range.
    """
    return {name: _build(name, entry) for name, entry in entries.items()}


def fit_all(
    entries: Mapping[str, Entry],
    built: Mapping[str, Detector],
    experiment: Experiment,
    frames: Callable[[], Frames],
    folder: Path,
    console: Console,
) -> dict[str, Fitted]:
    """Return all detectors by the name of their row; `frames` is called only if one is missing.

    Raises:
        ConfigError: a row asks for other settings than those of the run.
        StorageError: the folder holds a detector with other settings.
    """
    run = experiment.run
    fitted = {}
    for name, detector in built.items():
        facts_path = folder / f'{name}.json'
        if facts_path.is_file():
            fitted[name] = _read_back(name, entries[name], detector, folder)
            continue
        console.print(f'fitting {name}')
        started = time.perf_counter()
        skipped = None
        try:
            watched = experiment.watched
            if not (run and take_from_run(name, detector, run, watched)):
                normal = frames()
                started = time.perf_counter()  # reading the frames is not fitting
                detector.fit(watched, normal)
            detector.eval()
        except NotApplicableError as error:
            skipped = str(error)
            console.print(f'left out: {skipped}')
        seconds = time.perf_counter() - started
        if skipped is None:
            detector.save(folder / f'{name}.safetensors')
        write_json(
            facts_path,
            {
                'asked': _plain(entries[name]),
                'seconds': seconds,
                'skipped': skipped,
            },
        )
        fitted[name] = Fitted(None if skipped else detector, seconds, skipped)
    return fitted


def _build(name: str, entry: Entry) -> Detector:
    try:
        return DETECTORS[entry.detector](**entry.settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'detectors.{name}: {error}; correct the settings') from None


def _read_back(name: str, entry: Entry, detector: Detector, folder: Path) -> Fitted:
    facts = read_json(folder / f'{name}.json')
    if facts['asked'] != _plain(entry):
        raise StorageError(
            f'{folder} holds {name!r} with other settings ({facts["asked"]}); delete its files '
            'here and in all folders of scores, or choose another --output'
        )
    if facts['skipped'] is not None:
        return Fitted(None, facts['seconds'], facts['skipped'])
    loaded = type(detector).load(folder / f'{name}.safetensors')
    return Fitted(loaded, facts['seconds'], None)


def _plain(entry: Entry) -> dict[str, Any]:
    return {'detector': entry.detector, **entry.settings}
