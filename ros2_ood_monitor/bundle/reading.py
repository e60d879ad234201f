"""Reading `manifest.json` strictly; `manifest.schema.json` publishes what one file may hold.

The JSON Schema says everything about single values. What `_check_*` say on top relates values to
each other: the chain of tensors, ascending references, labels and their names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ros2_ood_monitor.bundle.manifest import (
    DEFAULT_CHANNEL,
    MAP_STRIDE,
    SCHEMA_VERSION,
    Alarm,
    BundleError,
    Certificate,
    Channel,
    FrameScore,
    FusedMap,
    Fusion,
    Manifest,
    Network,
    Regions,
    SelfTest,
    SemanticClass,
    Tensor,
)
from ros2_ood_monitor.bundle.schema_1 import upgraded
from ros2_ood_monitor.bundle.strict_json import JsonError, Section

DTYPES = ('uint8', 'int32', 'float32')
_TINY = 1e-12
"""Smallest accepted standard deviation, tolerance and threshold: positive, not zero."""


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
        _check_labels(manifest)
        _check_channels(manifest)
        _check_chain(manifest)
    except JsonError as error:
        raise BundleError(f'{source}: {error}; export the bundle again') from error
    return manifest


def read_channel(value: object, path: str) -> Channel:
    """Return the channel whose JSON object is `value`; `path` names it in a JsonError."""
    section = Section(path, value, Channel.__dataclass_fields__)
    statistic = section.section('frame_score', FrameScore.__dataclass_fields__)
    certificate = section.section('certificate', Certificate.__dataclass_fields__)
    no_regions = section.value['regions'] is None
    return Channel(
        fusion=_fusion(section.section('fusion', Fusion.__dataclass_fields__)),
        regions=None if no_regions else _regions(section),
        frame_score=FrameScore(
            top_fraction=statistic.number('top_fraction', _TINY, 1.0),
            reference=statistic.numbers('reference'),
        ),
        alarms=tuple(
            Alarm(
                drift=entry.number('drift', 0.0),
                threshold=entry.number('threshold', _TINY),
                kind=entry.text('kind', ('cusum',)),
            )
            for entry in section.sections('alarms', Alarm.__dataclass_fields__)
        ),
        certificate=Certificate(
            budget_per_hour=certificate.number('budget_per_hour', 0.0),
            certified_per_hour=certificate.number('certified_per_hour', 0.0),
            frame_rate=certificate.number('frame_rate', _TINY),
            sequences=certificate.optional('sequences', lambda key: certificate.integer(key, 1)),
            hours=certificate.optional('hours', lambda key: certificate.number(key, 0.0)),
        ),
    )


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
    top = Section('', document, _KEYS)
    size = top.section('input', ('width', 'height', 'color_order', 'resize'))
    size.text('resize', ('linear',))
    normalization = top.section('normalization', ('mean', 'std'))
    tolerance = top.section('tolerance', ('atol', 'rtol'))
    classes = tuple(
        SemanticClass(entry.text('name'), _color(entry))
        for entry in top.sections('classes', ('name', 'color'))
    )
    top.check('classes', len(classes) <= 255, 'must not be more than 255: 255 means unlabeled')
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
            'std': normalization.numbers('std', 3, _TINY),
        },
        classes=classes,
        void_label=top.optional('void_label', lambda key: top.integer(key, 0, 254)),
        backbone={**backbone.value, 'num_classes': backbone.integer('num_classes', 1, 255)},
        networks=_networks(top.section('networks')),
        channels=_channels(top.section('channels')),
        atol=tolerance.number('atol', _TINY),
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


def _fusion(section: Section) -> Fusion:
    maps = tuple(
        FusedMap(
            name=entry.text('name'),
            tensor=entry.text('tensor'),
            channel=entry.integer('channel', 0),
            mean=entry.number('mean'),
            std=entry.number('std', _TINY),
            weight=entry.number('weight'),
        )
        for entry in section.sections('maps', FusedMap.__dataclass_fields__)
    )
    section.check('maps', any(each.weight for each in maps), 'must not all have weight 0')
    return Fusion(maps, section.number('bias'))


def _regions(section: Section) -> Regions:
    entry = section.section('regions', Regions.__dataclass_fields__)
    return Regions(entry.number('threshold', _TINY, 1.0), entry.integer('min_area', 1))


def _statistics(section: Section) -> dict[str, float]:
    return {name: section.number(name) for name in section.value}


def _check_labels(manifest: Manifest) -> None:
    labels = set(range(manifest.backbone['num_classes'])) - {manifest.void_label}
    if max(labels, default=0) >= len(manifest.classes):
        raise JsonError('classes does not name every label')


def _check_channels(manifest: Manifest) -> None:
    """Refuse what would make a channel's numbers ambiguous."""
    sources: dict[str, tuple[str, int]] = {}
    for name, channel in manifest.channels.items():
        path = f'channels.{name}'
        reference = channel.frame_score.reference
        if list(reference) != sorted(reference):
            raise JsonError(f'{path}.frame_score.reference must be ascending')
        names = [each.name for each in channel.fusion.maps]
        if len(set(names)) != len(names):
            raise JsonError(f'{path}.fusion.maps must not name a map twice')
        for each in channel.fusion.maps:
            source = (each.tensor, each.channel)
            if sources.setdefault(each.name, source) != source:
                raise JsonError(f'{path}.fusion.maps: {each.name} is another map elsewhere')
    for index, stored in enumerate(manifest.selftest):
        if stored.statistics.keys() != manifest.channels.keys():
            raise JsonError(
                f'selftest[{index}].statistics must have one number for each channel: '
                f'{", ".join(manifest.channels)}'
            )


def _check_chain(manifest: Manifest) -> None:
    """Refuse networks whose tensors do not feed each other, the labels or the fused maps."""
    height, width = manifest.height, manifest.width
    if height % MAP_STRIDE or width % MAP_STRIDE:
        raise JsonError(f'input is {width}x{height} but must be a multiple of {MAP_STRIDE}')
    rows, columns = height // MAP_STRIDE, width // MAP_STRIDE
    given = {'image': Tensor('image', (1, height, width, 3), 'uint8')}

    def expect(what: str, name: str, shape: tuple[int, ...], dtype: str) -> None:
        tensor = given.get(name)
        if tensor is None:
            raise JsonError(f'{what} needs {name}, which no earlier network gives')
        if (tensor.shape, tensor.dtype) != (shape, dtype):
            raise JsonError(
                f'{what} needs {name} as {dtype} {shape}, not {tensor.dtype} {tensor.shape}'
            )

    for network_name, network in manifest.networks.items():
        for tensor in network.inputs:
            expect(f'networks.{network_name}', tensor.name, tensor.shape, tensor.dtype)
        for tensor in network.outputs:
            if tensor.name in given:
                raise JsonError(f'networks.{network_name} gives {tensor.name} a second time')
            given[tensor.name] = tensor
    expect('the segmentation', 'labels', (1, height, width), 'int32')
    for channel in manifest.channels.values():
        for each in channel.fusion.maps:
            shape = given[each.tensor].shape if each.tensor in given else ()
            planes = shape[1] if len(shape) == 4 else 1
            what = f'the map {each.name}'
            expect(what, each.tensor, (1, planes, rows, columns), 'float32')
            if each.channel >= planes:
                raise JsonError(
                    f'{what} reads channel {each.channel} of {each.tensor}, which has {planes}'
                )
