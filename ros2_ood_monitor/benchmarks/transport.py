"""What the wire costs: a 720p camera, a monitor and a listener in three processes over DDS.

`python -m ros2_ood_monitor.benchmarks.transport --bundle DIR` prints frames sent, received and
dropped,
and the time from publishing an image to hearing the alert about it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ros2_ood_monitor.frame import Header, Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import alerts_from_message, rgb_message
from ros2_ood_monitor.messages.types import DiagnosticArray

WIDTH, HEIGHT, RATE_HZ = 1280, 720, 30.0
READY_S = 120.0
SETTLE_S = 3.0
"""Wait after the last image, so that the last diagnostics count it."""

_SPAWN = multiprocessing.get_context('spawn')


class TransportBenchError(RuntimeError):
    """The measurement could not be made; the message says what was missing."""


def measure(bundle: Path, seconds: float, domain_id: int) -> dict[str, Any]:
    """Run the three processes and return the figures; milliseconds as p50, p95, p99.

    `lost` are frames that were sent and neither reached the mailbox nor were dropped by it.
    `overhead_ms` is the p95 from publishing to alert less the p95 of the engines, the median over
    the run of what the monitor reports for its last 10 s.
    """
    from ros2_ood_monitor.bus.dds import DdsMiddleware

    stop = _SPAWN.Event()
    sent: Any = _SPAWN.Queue()
    listener = _Listener()
    middleware = DdsMiddleware('bench_listener', domain_id=domain_id)
    middleware.subscribe(topics.ALERT, listener.alert)
    middleware.subscribe(topics.DIAGNOSTICS, listener.diagnostics)
    monitor = _SPAWN.Process(target=_monitor, args=(bundle, domain_id, stop))
    camera = _SPAWN.Process(target=_camera, args=(round(seconds * RATE_HZ), domain_id, sent))
    try:
        monitor.start()
        if not listener.ready.wait(READY_S):
            raise TransportBenchError('the monitor did not get ready; run ood-monitor doctor')
        camera.start()
        count = sent.get(timeout=seconds + READY_S)
        time.sleep(SETTLE_S)
        stop.set()
        monitor.join(10)
    finally:
        for process in (monitor, camera):
            if process.is_alive():
                process.terminate()
        middleware.close()
    return listener.figures(count)


class _Listener:
    """Hears alerts and diagnostics as a robot would."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self._delays_ms: dict[Stamp, float] = {}
        self._reports: list[dict[str, str]] = []

    def alert(self, message: DiagnosticArray) -> None:
        now_ns = time.time_ns()
        (alert,) = alerts_from_message(message)
        codes = {cause.code for cause in alert.causes}
        if codes and not codes & {'inactive', 'loading', 'loading_slow'}:
            self.ready.set()
        if alert.source is not None:
            stamp = alert.source.stamp
            self._delays_ms.setdefault(stamp, (now_ns - stamp.to_ns()) / 1e6)

    def diagnostics(self, message: DiagnosticArray) -> None:
        self._reports.append({item.key: item.value for item in message.status[0].values})

    def figures(self, sent: int) -> dict[str, Any]:
        scoring = [report for report in self._reports if 'inference_ms_p95' in report]
        if not scoring or not self._delays_ms:
            raise TransportBenchError('the monitor scored no image; see its log above')
        last = scoring[-1]
        delays = [
            float(value) for value in np.percentile([*self._delays_ms.values()], (50, 95, 99))
        ]
        inference = median(float(report['inference_ms_p95']) for report in scoring)
        return {
            'sent': sent,
            'received': int(last['received']),
            'lost': sent - int(last['received']),
            'judged': int(last['judged']),
            'refused': int(last['refused']) + int(last['failed']),
            'dropped_by_mailbox': int(last['dropped']),
            'publish_to_alert_ms': delays,
            'inference_p95_ms': inference,
            'overhead_ms': delays[1] - inference,
            'stages_ms': {key: float(value) for key, value in last.items() if '_ms_p' in key},
            'engine': last['engine'],
        }


def _monitor(bundle: Path, domain_id: int, stop: Any) -> None:
    from ros2_ood_monitor.bundle.model_bundle import ModelBundle
    from ros2_ood_monitor.bus.dds import DdsMiddleware
    from ros2_ood_monitor.node.monitor_node import run_monitor
    from ros2_ood_monitor.parameters import PARAMETERS

    parameters = {name: parameter.default for name, parameter in PARAMETERS.items()}
    middleware = DdsMiddleware('ood_monitor', domain_id=domain_id)
    try:
        run_monitor(middleware, ModelBundle.load(bundle), parameters, stop)
    finally:
        middleware.close()


def _camera(frames: int, domain_id: int, sent: Any) -> None:
    from ros2_ood_monitor.bus.dds import DdsMiddleware

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(4)]
    middleware = DdsMiddleware('bench_camera', domain_id=domain_id)
    topic = topics.camera_output('image')
    middleware.advertise(topic)
    deadline = time.monotonic() + READY_S
    while middleware.subscriber_count(topic) == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    begin = time.monotonic()
    for number in range(frames):
        time.sleep(max(0.0, begin + number / RATE_HZ - time.monotonic()))
        header = Header(Stamp.from_ns(time.time_ns()), 'camera_optical_frame')
        middleware.publish(topic, rgb_message(header, images[number % len(images)]))
    middleware.close()
    sent.put(frames)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--bundle', type=Path, required=True, metavar='DIR')
    parser.add_argument('--seconds', type=float, default=60.0, metavar='S')
    parser.add_argument('--domain-id', type=int, default=93, metavar='N')
    parser.add_argument('--json', default='-', metavar='FILE', help='- is standard output')
    args = parser.parse_args(argv)
    text = json.dumps(measure(args.bundle, args.seconds, args.domain_id), indent=1) + '\n'
    if args.json == '-':
        sys.stdout.write(text)
    else:
        Path(args.json).write_text(text, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
