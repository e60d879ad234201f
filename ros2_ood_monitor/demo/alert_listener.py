"""Subscribe to the monitor's topics over DDS, record them, keep an image of every alert."""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Any

from ros2_ood_monitor.alert import State
from ros2_ood_monitor.bundle.manifest import UNUSUAL_IMAGE
from ros2_ood_monitor.bundle.store import replace_file
from ros2_ood_monitor.bus.dds import DdsMiddleware
from ros2_ood_monitor.demo.outcome import Transition
from ros2_ood_monitor.frame import RawCompressedImage
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import alerts_from_message
from ros2_ood_monitor.messages.types import DiagnosticArray
from ros2_ood_monitor.recordings.mcap_writer import McapWriter

RECORDED = (
    topics.camera_input(),
    topics.LABEL_INFO,
    topics.SEGMENTATION,
    topics.ANOMALY_MAP,
    topics.REGIONS,
    topics.OVERLAY_COMPRESSED,
    topics.SCORE,
    topics.ALERT,
    topics.UNSAFE,
    topics.DIAGNOSTICS,
)
"""All but the uncompressed overlay, which would double the size of the bag."""


class AlertListener:
    """Listens as any ROS 2 node would; all callbacks come on one receiving thread."""

    def __init__(self, domain_id: int, bag: Path, images: Path) -> None:
        self.transitions: queue.SimpleQueue[Transition] = queue.SimpleQueue()
        self.causes: frozenset[str] = frozenset()
        """Codes of the newest alert's causes; empty before the first alert."""
        self._alerts = 0
        self._state: State | None = None
        self._images = images
        self._wanted: str | None = None
        self._writer = McapWriter(bag)
        self._middleware = DdsMiddleware('demo_listener', domain_id=domain_id)
        for topic in RECORDED:
            self._subscribe(topic)

    def _subscribe(self, topic: topics.Topic) -> None:
        def receive(message: Any) -> None:
            steady_s = time.monotonic()
            self._writer.write(topic, message, time.time_ns())
            if topic == topics.ALERT:
                self._alert(message, steady_s)
            elif topic == topics.OVERLAY_COMPRESSED and self._wanted is not None:
                self._keep(message, self._wanted)

        self._middleware.subscribe(topic, receive)

    def _alert(self, message: DiagnosticArray, steady_s: float) -> None:
        (alert,) = alerts_from_message(message)
        before = self._state, self.causes
        self._state, self.causes = alert.state, frozenset(cause.code for cause in alert.causes)
        if before != (self._state, self.causes):
            self.transitions.put(Transition(steady_s, alert.state, self.causes, alert.message))
            named = UNUSUAL_IMAGE in self.causes - before[1]
            if alert.state is State.ALERT and (named or before[0] is not State.ALERT):
                self._alerts += 1
                self._wanted = f'alert_{self._alerts}.jpg'

    def _keep(self, overlay: RawCompressedImage, name: str) -> None:
        data = overlay.data.tobytes()
        replace_file(self._images / name, lambda part: part.write_bytes(data))
        self._wanted = None

    def close(self) -> None:
        """Leave the bus and finish the bag."""
        self._middleware.close()
        self._writer.close()
