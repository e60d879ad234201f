"""Images for people, drawn beside the safety path and only while someone wants them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import NamedTuple

from ros2_ood_monitor.bus.base import Middleware
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import jpeg_message, rgb_message
from ros2_ood_monitor.node.black_box import BlackBox
from ros2_ood_monitor.supervision.heartbeat import MonitorOutput
from ros2_ood_monitor.supervision.mailbox import Mailbox

_LOG = logging.getLogger(__name__)
_RECORDED = topics.camera_output('image/compressed', compressed=True)


class _Job(NamedTuple):
    output: MonitorOutput
    time_ns: int


class OverlayWorker:
    """A thread that draws the overlay and encodes the black box's images.

    Drawing can take longer than the networks. Here a slow image delays nothing and is replaced
    by the next one.
    """

    def __init__(
        self, middleware: Middleware, black_box: BlackBox | None, jpeg_quality: int
    ) -> None:
        self.palette: Sequence[tuple[int, int, int]] = ()
        """RGB of every class."""
        self.jpeg_quality = jpeg_quality
        self._middleware = middleware
        self._black_box = black_box
        self._mailbox: Mailbox[_Job] = Mailbox()
        self._thread = threading.Thread(target=self._run, name='images', daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames without an image because a newer one came before their turn."""
        return self._mailbox.dropped

    def post(self, output: MonitorOutput, time_ns: int) -> None:
        """Hand over a scored frame; never waits. `time_ns` counts from the epoch."""
        self._mailbox.put(_Job(output, time_ns))

    def close(self) -> None:
        """End the thread after the image it is drawing; idempotent."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (job := self._mailbox.take()) is not None:
            self._work(job)

    def _work(self, job: _Job) -> None:
        try:
            self._record(job)
            self._draw(job.output)
        except Exception:
            _LOG.exception('no image of a frame')

    def _record(self, job: _Job) -> None:
        frame = job.output.frame
        if self._black_box is not None and frame is not None:
            message = jpeg_message(frame.header, frame.image, self.jpeg_quality)
            self._black_box.record(_RECORDED, message, job.time_ns)

    def _draw(self, output: MonitorOutput) -> None:
        raw = self._middleware.subscriber_count(topics.OVERLAY) > 0
        compressed = self._middleware.subscriber_count(topics.OVERLAY_COMPRESSED) > 0
        if output.frame is None or output.detection is None or not (raw or compressed):
            return
        from ros2_ood_monitor.pages.overlay import draw

        overlay = draw(output.frame.image, output.detection, output.alert, self.palette)
        header = output.frame.header
        if raw:
            self._middleware.publish(topics.OVERLAY, rgb_message(header, overlay))
        if compressed:
            message = jpeg_message(header, overlay, self.jpeg_quality)
            self._middleware.publish(topics.OVERLAY_COMPRESSED, message)
