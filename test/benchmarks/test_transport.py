"""Camera, monitor and listener in three processes over DDS."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip('cyclonedds', reason='pip install cyclonedds')

from ros2_ood_monitor.benchmarks import transport as transport_bench


@pytest.mark.slow
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
