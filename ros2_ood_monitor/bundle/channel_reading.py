"""Reading one channel of a manifest strictly."""

from __future__ import annotations

from ros2_ood_monitor.bundle.manifest import (
    CAUSES,
    UNKNOWN_VIEW,
    Alarm,
    Certificate,
    Channel,
    FrameScore,
    FusedMap,
    Fusion,
    Regions,
    SecondLook,
    Statistic,
)
from ros2_ood_monitor.bundle.strict_json import TINY, Section


def read_channel(value: object, path: str) -> Channel:
    """Return the channel whose JSON object is `value`; `path` names it in a JsonError."""
    keys = ('fusion', 'regions', 'frame_score', 'alarms', 'certificate')
    section = Section(path, value, keys, ('statistics', 'cause'))
    certificate = section.section('certificate', Certificate.__dataclass_fields__)
    return Channel(
        fusion=section.optional('fusion', lambda key: _fusion(section, key)),
        regions=section.optional('regions', lambda key: _regions(section, key)),
        frame_score=section.optional('frame_score', lambda key: _frame_score(section, key)),
        alarms=tuple(
            Alarm(
                drift=entry.number('drift', 0.0),
                threshold=entry.number('threshold', TINY),
                kind=entry.text('kind', ('cusum',)),
            )
            for entry in section.sections('alarms', Alarm.__dataclass_fields__)
        ),
        certificate=Certificate(
            budget_per_hour=certificate.number('budget_per_hour', 0.0),
            certified_per_hour=certificate.optional(
                'certified_per_hour', lambda key: certificate.number(key, 0.0)
            ),
            frame_rate=certificate.number('frame_rate', TINY),
            sequences=certificate.optional('sequences', lambda key: certificate.integer(key, 1)),
            hours=certificate.optional('hours', lambda key: certificate.number(key, 0.0)),
        ),
        statistics=tuple(
            Statistic(
                name=entry.text('name'),
                tensor=entry.optional('tensor', entry.text),
                index=entry.integer('index', 0),
                sign=_sign(entry),
                reference=entry.numbers('reference'),
            )
            for entry in section.sections('statistics', Statistic.__dataclass_fields__, 0)
        ),
        cause=section.text('cause', CAUSES) if 'cause' in section.value else UNKNOWN_VIEW,
    )


def _frame_score(channel: Section, key: str) -> FrameScore:
    section = channel.section(key, FrameScore.__dataclass_fields__)
    top_fraction = section.number('top_fraction', TINY, 1.0)
    return FrameScore(top_fraction, section.numbers('reference'))


def _fusion(channel: Section, key: str) -> Fusion:
    section = channel.section(key, Fusion.__dataclass_fields__)
    maps = tuple(
        FusedMap(
            name=entry.text('name'),
            tensor=entry.text('tensor'),
            channel=entry.integer('channel', 0),
            mean=entry.number('mean'),
            std=entry.number('std', TINY),
            weight=entry.number('weight'),
        )
        for entry in section.sections('maps', FusedMap.__dataclass_fields__)
    )
    section.check('maps', any(each.weight for each in maps), 'must not all have weight 0')
    return Fusion(maps, section.number('bias'))


def _regions(channel: Section, key: str) -> Regions:
    optional = ('sensitive_threshold', 'second_look')
    section = channel.section(key, ('threshold', 'min_area'), optional)
    return Regions(
        section.number('threshold', TINY, 1.0),
        section.integer('min_area', 1),
        section.optional('sensitive_threshold', lambda name: section.number(name, TINY, 1.0)),
        section.optional('second_look', lambda name: _second_look(section, name)),
    )


def _second_look(regions: Section, key: str) -> SecondLook:
    section = regions.section(key, SecondLook.__dataclass_fields__)
    return SecondLook(
        section.number('threshold', TINY, 1.0), section.number('sensitive_threshold', TINY, 1.0)
    )


def _sign(section: Section) -> float:
    sign = section.number('sign')
    section.check('sign', abs(sign) == 1, f'must be 1 or -1, not {sign:g}')
    return sign
