"""Reading `manifest.json` strictly; `manifest.schema.json` publishes what one file may hold.

The JSON Schema says everything about single values. What `_check_*` say on top relates values to
each other: the chain of tensors, ascending references, labels and their names.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ros2_ood_monitor.bundle.channel_reading import read_channel
from ros2_ood_monitor.bundle.manifest import (
    DEFAULT_CHANNEL,
    MAP_STRIDE,
    SCHEMA_VERSION,
    BundleError,
    CannotSee,
    Channel,
    Manifest,
    Network,
    SelfTest,
    SemanticClass,
    Tensor,
)
from ros2_ood_monitor.bundle.relations import check_chain, check_channels, check_labels
from ros2_ood_monitor.bundle.schema_1 import upgraded
from ros2_ood_monitor.bundle.strict_json import TINY, JsonError, Section
from ros2_ood_monitor.detection import UNLABELED

DTYPES = ('uint8', 'int32', 'float32')


def read_manifest(text: str, source: str) -> Manifest:
    """Parse and check the JSON `text` of any schema up to this one.

    `source` names it in the BundleError that is raised for anything wrong.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BundleError(
            f'{source} is not readable JSON ({error}); export the bundle again'
        ) from error
    version = _version(document, source)
    try:
        manifest = _parse(upgraded(document) if version == 1 else document)
        check_labels(manifest)
        check_channels(manifest)
        check_chain(manifest)
    except JsonError as error:
        raise BundleError(f'{source}: {error}; export the bundle again') from error
    return manifest


def _refuse_constant(constant: str) -> None:
    raise ValueError(f'{constant} is not a number')


def _version(document: object, source: str) -> int:
    version: Any = document.get('schema_version') if isinstance(document, dict) else None
    if type(version) not in (int, float) or version < 1 or version % 1:
        raise BundleError(
            f'{source}: schema_version is {version!r}, not a whole number from 1; '
            'export the bundle again'
        )
    if version > SCHEMA_VERSION:
        raise BundleError(
            f'{source}: schema_version {version} is newer than this package reads '
            f'({SCHEMA_VERSION}); update ros2_ood_monitor'
        )
    return int(version)


_KEYS = (
    'schema_version', 'name', 'input', 'normalization', 'classes', 'void_label', 'backbone',
    'networks', 'channels', 'tolerance', 'selftest', 'metrics', 'provenance',
)  # fmt: skip


def _parse(document: object) -> Manifest:
    top = Section('', document, _KEYS, ('expects_color', 'cannot_see'))
    size = top.section('input', ('width', 'height', 'color_order', 'resize'))
    size.text('resize', ('linear',))
    normalization = top.section('normalization', ('mean', 'std'))
    tolerance = top.section('tolerance', ('atol', 'rtol'))
    classes = tuple(
        SemanticClass(entry.text('name'), _color(entry))
        for entry in top.sections('classes', ('name', 'color'))
    )
    most = f'must not be more than {UNLABELED}: label {UNLABELED} means unlabeled'
    top.check('classes', len(classes) <= UNLABELED, most)
    backbone = top.section('backbone')
    for key in ('architecture', 'num_classes'):
        backbone.check(key, key in backbone.value, 'is missing')
    backbone.text('architecture')
    return Manifest(
        name=top.text('name'),
        width=size.integer('width', MAP_STRIDE),
        height=size.integer('height', MAP_STRIDE),
        color_order=size.text('color_order', ('rgb', 'bgr')),
        normalization={
            'mean': normalization.numbers('mean', 3),
            'std': normalization.numbers('std', 3, TINY),
        },
        classes=classes,
        void_label=top.optional('void_label', lambda key: top.integer(key, 0, 254)),
        backbone={**backbone.value, 'num_classes': backbone.integer('num_classes', 1, UNLABELED)},
        networks=_networks(top.section('networks')),
        channels=_channels(top.section('channels')),
        atol=tolerance.number('atol', TINY),
        rtol=tolerance.number('rtol', 0.0),
        selftest=tuple(
            SelfTest(
                path=Path(entry.text('image')),
                sha256=entry.text('sha256'),
                statistics=_statistics(entry.section('statistics')),
                alarming=entry.boolean('alarming'),
            )
            for entry in top.sections('selftest', ('image', 'sha256', 'statistics', 'alarming'))
        ),
        metrics=top.section('metrics').value,
        provenance=top.section('provenance').value,
        expects_color=top.boolean('expects_color') if 'expects_color' in top.value else True,
        cannot_see=tuple(
            _cannot_see(entry)
            for entry in top.sections('cannot_see', CannotSee.__dataclass_fields__, 0)
        ),
    )


def _color(entry: Section) -> tuple[int, int, int]:
    red, green, blue = entry.numbers('color', 3, 0, 255)
    return int(red), int(green), int(blue)


def _networks(section: Section) -> dict[str, Network]:
    section.check('backbone', 'backbone' in section.value, 'is missing')
    names = sorted(section.value, key=lambda name: name != 'backbone')
    networks = {}
    for name in names:
        entry = section.section(name, ('file', 'sha256', 'inputs', 'outputs'))
        networks[name] = Network(
            path=Path(entry.text('file')),
            sha256=entry.text('sha256'),
            inputs=_tensors(entry, 'inputs'),
            outputs=_tensors(entry, 'outputs'),
        )
    return networks


def _tensors(section: Section, key: str) -> tuple[Tensor, ...]:
    tensors = []
    for entry in section.sections(key, ('name', 'shape', 'dtype')):
        sizes = entry.numbers('shape', low=1)
        entry.check('shape', all(size.is_integer() for size in sizes), 'must be whole numbers')
        shape = tuple(int(size) for size in sizes)
        tensors.append(Tensor(entry.text('name'), shape, entry.text('dtype', DTYPES)))
    return tuple(tensors)


def _statistics(section: Section) -> dict[str, float]:
    return {name: section.number(name) for name in section.value}


def _channels(section: Section) -> dict[str, Channel]:
    section.check(DEFAULT_CHANNEL, DEFAULT_CHANNEL in section.value, 'is missing')
    names = sorted(section.value, key=lambda name: name != DEFAULT_CHANNEL)
    channels = {}
    for name in names:
        path = f'channels.{name}'
        channels[name] = read_channel(section.value[name], path)
        has_regions = channels[name].regions is not None
        if has_regions != (name == DEFAULT_CHANNEL):
            what = 'must be null: only' if has_regions else 'must be an object:'
            raise JsonError(f'{path}.regions {what} the channel {DEFAULT_CHANNEL} has regions')
    return channels


def _cannot_see(entry: Section) -> CannotSee:
    def optional(key: str, high: float = math.inf) -> float | None:
        return entry.optional(key, lambda name: entry.number(name, 0.0, high))

    return CannotSee(
        kind=entry.text('kind'),
        what=entry.text('what'),
        severity_or_distance=optional('severity_or_distance'),
        seen_share=optional('seen_share', 1.0),
        delay_s=optional('delay_s'),
        false_alarms=optional('false_alarms'),
    )
