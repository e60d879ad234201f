"""Results on disk, each with a note of all that it was made from.

entry = Entry(folder, 'flow', {'epochs': 8, 'seed': 0})
reason = entry.why_not()            # None, or why what is stored cannot be used
if reason is not None:
    replace_file(folder / 'flow.bin', train)
    entry.record(files=[folder / 'flow.bin'])
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ros2_ood_monitor.bundle.model_bundle import file_sha256


def fingerprint(properties: Any) -> str:
    """Return 16 hexadecimal digits that change with any part of a JSON value."""
    text = json.dumps(properties, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.part')
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        # mkstemp makes the file private; results are meant to be read by others.
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def changes(stored: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = '') -> list[str]:
    """Return what differs between two sets of properties: 'seed was 0 and is 1'."""
    found = []
    for key in {**stored, **wanted}:
        old, new = stored.get(key, 'not set'), wanted.get(key, 'not set')
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += changes(old, new, f'{prefix}{key}.')
        elif old != new:
            found.append(f'{prefix}{key} was {old} and is {new}')
    return found


@dataclass(frozen=True)
class Entry:
    """One result in `directory`: `<name>.json` notes its properties, its files and their hashes.

    `properties` are JSON values, nested if need be. An entry replaces an earlier one of its kind,
    unless `variants` of other properties are to stay beside it.
    """

    directory: Path
    kind: str
    properties: Mapping[str, Any]
    variants: bool = False

    @property
    def name(self) -> str:
        """Return the name of the note without its ending; free for the entry's files."""
        return f'{self.kind}-{fingerprint(self.properties)}' if self.variants else self.kind

    @property
    def note(self) -> Path:
        """Return the path of the note."""
        return self.directory / f'{self.name}.json'

    def why_not(self) -> str | None:
        """Return why nothing stored can be used, or None if it can."""
        wanted = json.loads(json.dumps(self.properties))
        note = _read(self.note)
        if self.note.exists() and not note:
            return f'{self.note.name} is damaged or incomplete'
        if note and note['properties'] == wanted:
            for name, digest in note['files'].items():
                path = self.directory / name
                if not path.is_file() or file_sha256(path) != digest:
                    return f'{path.name} is damaged or incomplete'
            return None
        notes = map(_read, self.directory.glob('*.json')) if self.variants else [note]
        others = [each['properties'] for each in notes if each and each['kind'] == self.kind]
        if not others:
            return f'it is not in {self.directory} yet'
        # The entry that differs least tells best what has changed.
        least = min((changes(other, wanted) for other in others), key=len)
        return f'what is stored does not fit: {", ".join(least)}'

    def record(self, value: Any = None, files: Iterable[Path] = ()) -> None:
        """Note that `files`, which are in place, and the JSON value `value` are this result."""
        content = {
            'kind': self.kind,
            'properties': dict(self.properties),
            'files': {os.path.relpath(path, self.directory): file_sha256(path) for path in files},
            'value': value,
        }
        text = json.dumps(content, indent=1, allow_nan=False) + '\n'
        replace_file(self.note, lambda part: part.write_text(text, encoding='utf-8'))

    def value(self) -> Any:
        """Return the JSON value of what is stored."""
        return _read(self.note)['value']

    def stored_properties(self) -> dict[str, Any]:
        """Return what the stored result was made from, empty if nothing is stored."""
        return dict(_read(self.note).get('properties', {}))

    def digest(self) -> str:
        """Return a fingerprint of the stored files, or of the value of an entry without files."""
        note = _read(self.note)
        return fingerprint(note['files'] or note['value'])

    def forget(self) -> None:
        """Remove the note, so that nothing counts as stored."""
        self.note.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """Return a note's content, empty if there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    complete = isinstance(content, dict) and {'kind', 'properties', 'files', 'value'} <= set(
        content
    )
    return content if complete else {}
