"""The published JSON Schema and the reader accept the same manifests.

What relates several values is beyond a JSON Schema; the schema's description lists it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ros2_ood_monitor.bundle.manifest import BundleError
from ros2_ood_monitor.bundle.reading import read_manifest

SCHEMA = json.loads((files('ros2_ood_monitor.bundle') / 'manifest.schema.json').read_text())
MANIFEST = json.loads(
    (Path(__file__).parents[1] / 'golden' / 'bundle_schema_2' / 'manifest.json').read_text()
)
VALIDATOR = Draft202012Validator(SCHEMA)
RELATIONS = re.compile(
    r'which no earlier network gives|a second time| needs \w+ as |must be a multiple of 4'
    r'|must be ascending|must not name a (?:map|statistic) twice|is another map elsewhere'
    r'|does not name every label|must have one number for each of|which has \d'
    r'|must both be objects or both be null|must not be empty where fusion is null'
    r'|must be an object where there are regions|must not be above threshold'
)
"""Sentences of the checks that the schema leaves to the reader."""

Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Yield the place of every value inside `value`."""
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value[:2])
    for key, inner in pairs:
        yield (*at, key)
        yield from places(inner, (*at, key))


def refusal(manifest: object) -> str | None:
    """Return why the reader refuses a manifest, None if it accepts it."""
    try:
        read_manifest(json.dumps(manifest), 'manifest.json')
    except BundleError as error:
        return str(error)
    return None


def agrees(manifest: object) -> None:
    reason = refusal(manifest)
    if VALIDATOR.is_valid(manifest):
        assert reason is None or RELATIONS.search(reason)
    else:
        assert reason is not None


def changed(place: Place, change: str, value: object = None) -> object:
    manifest = copy.deepcopy(MANIFEST)
    target = manifest
    for key in place[:-1]:
        target = target[key]
    if change == 'remove':
        del target[place[-1]]
    elif change == 'add':
        container = target[place[-1]]
        if isinstance(container, dict):
            container['surplus'] = value
        elif isinstance(container, list):
            container.append(value)
    else:
        target[place[-1]] = value
    return manifest


VALUES: tuple[object, ...] = (
    None, True, -1, 0, 0.5, 1, 2.0, 7, 300, 1e300, '', 'object', 'cusum', [], [0], ['a'],
    [1, 2, 3], {}, {'a': 1},
)  # fmt: skip
PLACES = tuple(places(MANIFEST))


def test_the_schema_is_one_and_accepts_a_good_manifest() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(MANIFEST)
    assert refusal(MANIFEST) is None
    assert len(PLACES) > 150


@pytest.mark.parametrize('change', ['remove', 'add'])
def test_both_miss_the_same_keys_and_refuse_the_same_surplus(change: str) -> None:
    for place in PLACES:
        agrees(changed(place, change))


def test_both_accept_the_same_values() -> None:
    for place in PLACES:
        for value in VALUES:
            agrees(changed(place, 'replace', value))


NUMBERS = st.integers(-(2**33), 2**33) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.sampled_from(PLACES), NUMBERS)
def test_both_have_the_same_limits(place: Place, value: float) -> None:
    agrees(changed(place, 'replace', value))


def test_what_the_schema_cannot_say_is_said_by_the_reader() -> None:
    reference = ('channels', 'object', 'frame_score', 'reference')
    manifest = changed(reference, 'replace', [2.0, 1.0])
    assert VALIDATOR.is_valid(manifest)
    assert 'must be ascending' in str(refusal(manifest))
