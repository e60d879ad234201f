"""Manifests of schema 1 (package 0.1): one fusion, one alarm, maps known by their names."""

from __future__ import annotations

from typing import Any

from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL
from ros2_ood_monitor.bundle.strict_json import Section

_CHANNEL_KEYS = ('fusion', 'regions', 'frame_score', 'alarm')
_SOURCES = {'unknown': ('observer', 0), 'error': ('observer', 1)}
"""Network output and plane of the maps that were not named after their network output."""


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schema-1 `document` in schema 2, as one channel `object`; raises JsonError.

    Only what moved is looked at here; the reader of schema 2 checks the rest.
    """
    top = Section('', document)
    for key in (*_CHANNEL_KEYS, 'selftest'):
        top.check(key, key in document, 'is missing')
    top.check('channels', 'channels' not in document, 'is unknown in schema 1')
    alarm = top.section(
        'alarm', ('drift', 'threshold', 'frame_rate', 'budget_per_hour', 'certified_per_hour')
    )
    certified = ('budget_per_hour', 'certified_per_hour', 'frame_rate')
    channel = {
        'fusion': _fusion(top.section('fusion', ('maps', 'mean', 'std', 'weights', 'bias'))),
        'regions': top.section('regions').value,
        'frame_score': document['frame_score'],
        'alarms': [{'kind': 'cusum', **{k: alarm.value[k] for k in ('drift', 'threshold')}}],
        'certificate': {
            **{key: alarm.value[key] for key in certified},
            'sequences': None,
            'hours': None,
        },
    }
    selftest = []
    for entry in top.sections('selftest', ('image', 'sha256', 'statistic', 'alarming')):
        moved = {key: value for key, value in entry.value.items() if key != 'statistic'}
        selftest.append({**moved, 'statistics': {DEFAULT_CHANNEL: entry.number('statistic')}})
    kept = {key: value for key, value in document.items() if key not in _CHANNEL_KEYS}
    return {
        **kept,
        'schema_version': 2,
        'channels': {DEFAULT_CHANNEL: channel},
        'selftest': selftest,
    }


def _fusion(section: Section) -> dict[str, Any]:
    names = section.items('maps')
    section.check('maps', all(isinstance(name, str) for name in names), 'must hold map names')
    columns = [section.numbers(key, len(names)) for key in ('mean', 'std', 'weights')]
    maps = []
    for name, mean, std, weight in zip(names, *columns, strict=True):
        tensor, channel = _SOURCES.get(name, (name, 0))
        maps.append(
            {
                'name': name,
                'tensor': tensor,
                'channel': channel,
                'mean': mean,
                'std': std,
                'weight': weight,
            }
        )
    return {'maps': maps, 'bias': section.value['bias']}
