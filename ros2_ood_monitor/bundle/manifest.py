"""What `manifest.json` of a model bundle says: the schema as data classes, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ros2_ood_monitor.bundle.strict_json import JsonError, Section

SCHEMA_VERSION = 1
DTYPES = ('uint8', 'int32', 'float32')
MAP_STRIDE = 4
"""Anomaly maps are computed at a quarter of the network input size."""


class BundleError(ValueError):
    """A model bundle that must not be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a network; batch is always 1 and shapes are fixed."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Network:
    """An ONNX file with its named inputs and outputs."""

    path: Path
    """In a manifest relative to the bundle's directory."""
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class SemanticClass:
    """A class the backbone was trained on; `color` is RGB, 0 to 255."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Fusion:
    """Logistic fusion: logit = bias + sum of weight * clip((map - mean) / std, -10, 10)."""

    maps: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float


@dataclass(frozen=True)
class Regions:
    """When connected pixels are a region: probability threshold, least area in map pixels."""

    threshold: float
    min_area: int


@dataclass(frozen=True)
class FrameScore:
    """Frame statistic (mean of the top fraction of the fused logits) and its normal sample."""

    top_fraction: float
    reference: tuple[float, ...]
    """Ascending statistics of normal frames."""


@dataclass(frozen=True)
class Alarm:
    """CUSUM rule: S = max(0, S + score - drift), alarm at S >= threshold.

    `budget_per_hour` false alarms were asked for at `frame_rate` Hz, `certified_per_hour` is the
    rate that calibration could certify.
    """

    drift: float
    threshold: float
    frame_rate: float
    budget_per_hour: float
    certified_per_hour: float


@dataclass(frozen=True)
class SelfTest:
    """A stored frame and the frame statistic that every engine must reproduce."""

    path: Path
    """In a manifest relative to the bundle's directory."""
    sha256: str
    statistic: float
    alarming: bool


@dataclass(frozen=True)
class Manifest:
    """All of `manifest.json`, checked; `networks` are in running order, backbone first.

    `width` and `height` are the network input size in pixels. `void_label` is the class that is
    published as unlabeled. `normalization` (mean and std in grey levels, 0 to 255) is folded into
    the backbone's graph and only informs. `atol` and `rtol` bound how far engines may differ on
    fused logits.
    """

    name: str
    width: int
    height: int
    color_order: str
    normalization: Mapping[str, tuple[float, ...]]
    classes: tuple[SemanticClass, ...]
    void_label: int | None
    backbone: Mapping[str, Any]
    networks: Mapping[str, Network]
    fusion: Fusion
    regions: Regions
    frame_score: FrameScore
    alarm: Alarm
    atol: float
    rtol: float
    selftest: tuple[SelfTest, ...]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]


def map_source(name: str) -> tuple[str, int]:
    """Return the network output and its channel that hold the single anomaly map `name`."""
    return {'unknown': ('observer', 0), 'error': ('observer', 1)}.get(name, (name, 0))


def read_manifest(text: str, source: str) -> Manifest:
    """Parse and check the JSON `text`; `source` names it in the BundleError it may raise."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BundleError(
            f'{source} is not readable JSON ({error}); export the bundle again'
        ) from error
    _check_version(document, source)
    try:
        manifest = _parse(document)
        _check_chain(manifest)
    except JsonError as error:
        raise BundleError(f'{source}: {error}; export the bundle again') from error
    return manifest


def _refuse_constant(constant: str) -> None:
    raise ValueError(f'{constant} is not a number')


def _check_version(document: object, source: str) -> None:
    version = document.get('schema_version') if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise BundleError(
            f'{source}: schema_version is {version!r}, not a whole number from 1; '
            'export the bundle again'
        )
    if version > SCHEMA_VERSION:
        raise BundleError(
            f'{source}: schema_version {version} is newer than this package reads '
            f'({SCHEMA_VERSION}); update ros2_ood_monitor'
        )


_KEYS = (
    'name', 'input', 'normalization', 'classes', 'void_label', 'backbone', 'networks', 'fusion',
    'regions', 'frame_score', 'alarm', 'tolerance', 'selftest', 'metrics', 'provenance',
)  # fmt: skip
_TINY = 1e-12
"""Smallest accepted standard deviation, tolerance and threshold: positive, not zero."""


def _parse(document: dict[str, Any]) -> Manifest:
    top = Section('', document, ('schema_version', *_KEYS))
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
    void_label = None if document['void_label'] is None else top.integer('void_label', 0, 254)
    labels = set(range(backbone.integer('num_classes', 1, 255))) - {void_label}
    top.check('classes', max(labels, default=0) < len(classes), 'does not name every label')
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
        void_label=void_label,
        backbone=backbone.value,
        networks=_networks(top.section('networks')),
        fusion=_fusion(top.section('fusion', ('maps', 'mean', 'std', 'weights', 'bias'))),
        regions=_regions(top.section('regions', ('threshold', 'min_area'))),
        frame_score=_frame_score(top.section('frame_score', ('top_fraction', 'reference'))),
        alarm=_alarm(top.section('alarm', Alarm.__dataclass_fields__)),
        atol=tolerance.number('atol', _TINY),
        rtol=tolerance.number('rtol', 0.0),
        selftest=tuple(
            SelfTest(
                path=Path(entry.text('image')),
                sha256=entry.text('sha256'),
                statistic=entry.number('statistic'),
                alarming=entry.boolean('alarming'),
            )
            for entry in top.sections('selftest', ('image', 'sha256', 'statistic', 'alarming'))
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


def _fusion(section: Section) -> Fusion:
    maps = section.items('maps')
    section.check('maps', all(isinstance(name, str) for name in maps), 'must hold map names')
    section.check('maps', len(set(maps)) == len(maps), 'must not name a map twice')
    weights = section.numbers('weights', len(maps))
    section.check('weights', any(weights), 'must not all be 0')
    return Fusion(
        maps=tuple(maps),
        mean=section.numbers('mean', len(maps)),
        std=section.numbers('std', len(maps), _TINY),
        weights=weights,
        bias=section.number('bias'),
    )


def _regions(section: Section) -> Regions:
    return Regions(section.number('threshold', _TINY, 1.0), section.integer('min_area', 1))


def _frame_score(section: Section) -> FrameScore:
    reference = section.numbers('reference')
    section.check('reference', list(reference) == sorted(reference), 'must be ascending')
    return FrameScore(section.number('top_fraction', _TINY, 1.0), reference)


def _alarm(section: Section) -> Alarm:
    return Alarm(
        drift=section.number('drift', 0.0),
        threshold=section.number('threshold', _TINY),
        frame_rate=section.number('frame_rate', _TINY),
        budget_per_hour=section.number('budget_per_hour', 0.0),
        certified_per_hour=section.number('certified_per_hour', 0.0),
    )


def _check_chain(manifest: Manifest) -> None:
    """Refuse networks whose tensors do not feed each other, the labels or the fused maps."""
    height, width = manifest.height, manifest.width
    if height % MAP_STRIDE or width % MAP_STRIDE:
        raise JsonError(f'input is {width}x{height} but must be a multiple of {MAP_STRIDE}')
    map_shape = (height // MAP_STRIDE, width // MAP_STRIDE)
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
    for name in manifest.fusion.maps:
        source, _ = map_source(name)
        channels = 2 if source == 'observer' else 1
        expect(f'the map {name}', source, (1, channels, *map_shape), 'float32')
