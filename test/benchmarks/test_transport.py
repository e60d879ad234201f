"""Camera, monitor and listener in three processes over DDS."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip('cyclonedds', reason='pip install cyclonedds')

from ros2_ood_monitor.benchmarks import transport as transport_bench


@pytest.mark.alone
@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_soak_loses_no_frame(tiny_bundle, record_property):
    figures = transport_bench.measure(tiny_bundle, 300.0, os.getpid() * 7 % 90 + 10)
    for name in ('sent', 'received', 'lost', 'judged', 'dropped_by_mailbox'):
        record_property(name, figures[name])
    record_property(
        'publish to alert p50, p95, p99 (ms)',
        ', '.join(f'{value:.1f}' for value in figures['publish_to_alert_ms']),
    )
    assert figures['sent'] == 9000
    assert figures['lost'] == 0


@pytest.mark.slow
@pytest.mark.alone
def test_every_720p_frame_reaches_the_monitor_and_is_answered(tiny_bundle, tmp_path):
    output = tmp_path / 'figures.json'
    domain = str(os.getpid() * 7 % 90 + 10)
    assert (
        transport_bench.main(
            [
                '--bundle',
                str(tiny_bundle),
                '--seconds',
                '3',
                '--domain-id',
                domain,
                '--json',
                str(output),
            ]
        )
        == 0
    )
    figures = json.loads(output.read_text())
    assert figures['sent'] == figures['received'] == 90
    assert figures['lost'] == 0
    answered = figures['judged'] + figures['refused'] + figures['dropped_by_mailbox']
    # The first image may wait in the mailbox while the engines still load.
    assert answered >= 89
    assert figures['judged'] > 45
    p50, p95, p99 = figures['publish_to_alert_ms']
    assert 0 < p50 <= p95 <= p99
    assert figures['inference_p95_ms'] < p95
