"""What a calibration changed, as a table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ros2_ood_monitor.bundle.manifest import Channel

_ROW = '{:<12.12} {:<24.24} {:>20.20} {:>20.20}'


def changes_table(before: Mapping[str, Channel], after: Mapping[str, Channel]) -> str:
    """Return one line for each threshold, reference and certificate, before and after."""
    lines = [_ROW.format('channel', 'what', 'before', 'after')]
    for name, channel in after.items():
        old, new = dict(_values(before[name])), dict(_values(channel))
        lines += [
            _ROW.format(name, what, old.get(what, '-'), new.get(what, '-'))
            for what in {**old, **new}
        ]
    return '\n'.join(lines)


def _values(channel: Channel) -> Iterator[tuple[str, str]]:
    for label, reference in _references(channel):
        if reference:
            median, high = np.quantile(reference, [0.5, 0.99])
            yield f'{label}: 50, 99 %', f'{median:.3g}, {high:.3g}'
    for number, alarm in enumerate(sorted(channel.alarms, key=lambda each: -each.drift)):
        speed = 'fast' if number == 0 and len(channel.alarms) > 1 else 'slow'
        yield f'{speed} alarm at (drift)', f'{alarm.threshold:.2f} ({alarm.drift:.2f})'
    if channel.regions is not None:
        yield 'region, strict', f'{channel.regions.threshold:.4f}'
        sensitive = channel.regions.sensitive_threshold
        yield 'region, sensitive', '-' if sensitive is None else f'{sensitive:.4f}'
        if (second := channel.regions.second_look) is not None:
            yield 'second look, strict', f'{second.threshold:.4f}'
            yield 'second look, sensitive', f'{second.sensitive_threshold:.4f}'
    certificate = channel.certificate
    rate = certificate.certified_per_hour
    yield 'asked per hour', f'{certificate.budget_per_hour:.3g}'
    yield 'certified per hour', 'UNCERTIFIED' if not certificate.certified else f'{rate:.3g}'
    yield 'sequences', str(certificate.sequences or '-')
    yield 'hours', '-' if certificate.hours is None else f'{certificate.hours:.3g}'
    yield 'frames per second', f'{certificate.frame_rate:.3g}'


def _references(channel: Channel) -> Iterator[tuple[str, tuple[float, ...]]]:
    if channel.frame_score is not None:
        yield 'normal', channel.frame_score.reference
    for each in channel.statistics:
        yield each.name, each.reference
