"""Results on disk: valid while all that they were made from is the same, else they say why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ros2_ood_monitor.bundle.store import Entry, changes, fingerprint, replace_file

PROPERTIES = {'network': 'flow.onnx', 'version': '10.1', 'taps': {'level2': [3, 4]}}


def test_fingerprint_depends_on_every_property_and_not_on_their_order() -> None:
    base = fingerprint(PROPERTIES)
    assert fingerprint(dict(reversed(PROPERTIES.items()))) == base
    others = {fingerprint({**PROPERTIES, key: 'other'}) for key in PROPERTIES}
    assert base not in others
    assert len(others) == 3


def stored(folder: Path, **more: object) -> Entry:
    entry = Entry(folder, 'flow', {**PROPERTIES, **more})
    (folder / 'flow.bin').write_bytes(b'weights')
    entry.record({'seconds': 3}, [folder / 'flow.bin'])
    return entry


def test_what_is_stored_is_read_back_for_the_same_properties(tmp_path: Path) -> None:
    reason = Entry(tmp_path, 'flow', PROPERTIES).why_not()
    assert reason == f'it is not in {tmp_path} yet'
    stored(tmp_path)
    again = Entry(tmp_path, 'flow', {**PROPERTIES, 'taps': {'level2': (3, 4)}})
    assert again.why_not() is None
    assert again.value() == {'seconds': 3}


@pytest.mark.parametrize(
    ('properties', 'difference'),
    [
        ({**PROPERTIES, 'version': '10.2'}, 'version was 10.1 and is 10.2'),
        ({**PROPERTIES, 'taps': {'level2': [3, 5]}}, 'taps.level2 was [3, 4] and is [3, 5]'),
        ({**PROPERTIES, 'seed': None}, 'seed was not set and is None'),
        ({'network': 'flow.onnx', 'taps': {}}, 'version was 10.1 and is not set, taps.level2 was'),
    ],
)
def test_a_changed_property_is_named(tmp_path: Path, properties: dict, difference: str) -> None:
    stored(tmp_path)
    reason = Entry(tmp_path, 'flow', properties).why_not()
    assert reason is not None
    assert reason.startswith(f'what is stored does not fit: {difference}')


@pytest.mark.parametrize('damage', ['file', 'no file', 'note', 'other note'])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    entry = stored(tmp_path)
    if damage == 'file':
        (tmp_path / 'flow.bin').write_bytes(b'weight')
    elif damage == 'no file':
        (tmp_path / 'flow.bin').unlink()
    else:
        entry.note.write_text('{"prop' if damage == 'note' else '[]')
    assert 'damaged or incomplete' in (entry.why_not() or '')


def test_variants_stay_side_by_side_and_the_nearest_one_gives_the_reason(tmp_path: Path) -> None:
    entries = [
        Entry(tmp_path, 'flow', {'gpu': gpu, 'driver': driver}, variants=True)
        for gpu, driver in (('A', 1), ('B', 2))
    ]
    for entry in entries:
        entry.record()
    assert [entry.why_not() for entry in entries] == [None, None]
    third = Entry(tmp_path, 'flow', {'gpu': 'B', 'driver': 3}, variants=True)
    assert third.why_not() == 'what is stored does not fit: driver was 2 and is 3'
    other = Entry(tmp_path, 'observer', {'gpu': 'A', 'driver': 1}, variants=True)
    assert other.why_not() == f'it is not in {tmp_path} yet'


def test_a_digest_follows_what_is_stored_and_not_how(tmp_path: Path) -> None:
    digest = stored(tmp_path).digest()
    assert stored(tmp_path, seed=1).digest() == digest
    (tmp_path / 'flow.bin').write_bytes(b'others')
    entry = Entry(tmp_path, 'flow', PROPERTIES)
    entry.record({'seconds': 3}, [tmp_path / 'flow.bin'])
    assert entry.digest() != digest
    values = Entry(tmp_path, 'cost', {})
    values.record({'ms': 1})
    first = values.digest()
    values.record({'ms': 2})
    assert values.digest() != first


def test_a_file_is_complete_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / 'folder' / 'result'
    replace_file(path, lambda part: part.write_text('first'))

    def fail(part: Path) -> None:
        part.write_text('half')
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        replace_file(path, fail)
    assert path.read_text() == 'first'
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_value_that_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='JSON'):
        Entry(tmp_path, 'cost', {}).record(float('nan'))
    assert list(tmp_path.iterdir()) == []
    assert changes({'a': 1}, json.loads('{"a": 1.0}')) == []
