"""The monitor's node, the same on every message bus: topics, diagnostics, images, black box."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ros2_ood_monitor.bundle.certification import CALIBRATIONS, uncertified
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.bus.base import Middleware
from ros2_ood_monitor.frame import Stamp, UInt8Array
from ros2_ood_monitor.inference.region_of_interest import region_of_interest
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import (
    alert_messages,
    diagnostics_message,
    fallback_messages,
    label_info_message,
    result_messages,
)
from ros2_ood_monitor.node.black_box import BlackBox
from ros2_ood_monitor.node.overlays import OverlayWorker
from ros2_ood_monitor.parameter import ParameterError, Value
from ros2_ood_monitor.supervision.clock import Clock, SystemClock
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.heartbeat import MonitorOutput
from ros2_ood_monitor.supervision.monitor import Monitor
from ros2_ood_monitor.supervision.throttle import Throttle

if TYPE_CHECKING:
    from ros2_ood_monitor.alert import Alert
    from ros2_ood_monitor.inference.runner import Runner

DIAGNOSTICS_PERIOD_S = 1.0
_LOG = logging.getLogger(__name__)


class NodeError(RuntimeError):
    """The node was asked for what it must not do; the message says what comes first."""


class MonitorNode:
    """One camera's monitor on a message bus.

    `start`, `load`, `activate`, `deactivate` and `stop` belong to the thread that owns the
    middleware; whether it still works, a reset and a fault from outside are asked of `monitor`.
    Alerts go out from `start` to `stop`, whatever happens between. `parameters` holds
    every parameter of `parameters.PARAMETERS`; `stamp_clock` is what image stamps are compared
    with and what alerts are stamped with.
    """

    def __init__(
        self,
        middleware: Middleware,
        parameters: Mapping[str, Value],
        stamp_clock: Clock | None = None,
    ) -> None:
        self._middleware = middleware
        self._parameters = dict(parameters)
        self._stamp_clock = stamp_clock or SystemClock()
        self._bundle: ModelBundle | None = None
        self._region_of_interest: UInt8Array | None = None
        self._engine = ''
        self._alert: Alert | None = None
        self._active = False
        compressed = parameters['camera.image_transport'] == 'compressed'
        name = str(parameters['camera.image_topic']) + ('/compressed' if compressed else '')
        self._input = topics.camera_input(name, compressed)
        self._black_box = _open_black_box(parameters)
        self._overlays = OverlayWorker(
            middleware, self._black_box, int(parameters['overlay.jpeg_quality'])
        )
        self.monitor = Monitor(
            str(parameters['camera.name']),
            self._open_runner,
            SupervisionConfig.from_parameters(parameters),
            self._publish,
            stamp_clock=self._stamp_clock,
        )
        self._no_image = Throttle()
        self._stopping = threading.Event()
        self._diagnostics = threading.Thread(
            target=self._publish_diagnostics, name='diagnostics', daemon=True
        )

    def start(self) -> None:
        """Publish alerts from now on; until images are scored they say why the view is unsafe."""
        for topic in topics.PUBLISHED:
            self._middleware.advertise(topic)
        self.monitor.start(active=False)
        self._diagnostics.start()

    def load(self, bundle: ModelBundle) -> None:
        """Take the bundle to be used from the next activation and announce its classes.

        Raises NodeError if it is uncertified and `require_certified` is set, ParameterError if
        the region of interest leaves no room for a region.
        """
        reason = uncertified(bundle.channels)
        if reason is not None:
            text = f'the bundle {bundle.name} is {reason}'
            if self._parameters['require_certified']:
                raise NodeError(f'refused, because require_certified is set: {text}')
            _LOG.warning('%s', text)
        self._region_of_interest = region_of_interest(bundle, self._parameters)
        self._bundle = bundle
        self._overlays.palette = [entry.color for entry in bundle.classes]
        names = [entry.name for entry in bundle.classes]
        self._middleware.publish(
            topics.LABEL_INFO, label_info_message(names, bundle.regions.threshold, self._now())
        )

    def activate(self) -> None:
        """Subscribe to the camera and score its images; NodeError without a bundle."""
        if self._bundle is None:
            raise NodeError('load a model bundle before activating the monitor')
        if self._active:
            return
        self._middleware.subscribe(self._input, self.monitor.submit)
        try:
            self.monitor.activate()
        except Exception:
            self._middleware.unsubscribe(self._input)
            raise
        self._active = True

    def deactivate(self) -> None:
        """Stop scoring and free the engines; alerts go on, saying so."""
        if self._active:
            self._active = False
            self._middleware.unsubscribe(self._input)
            self.monitor.deactivate()

    def configure(self, parameters: Mapping[str, Value]) -> None:
        """Take over the parameters that may change while the monitor runs."""
        self._parameters.update(parameters)
        self.monitor.supervisor.configure(SupervisionConfig.from_parameters(self._parameters))
        self._overlays.jpeg_quality = int(self._parameters['overlay.jpeg_quality'])

    def stop(self) -> None:
        """Publish a last alert that says so and end every thread; the middleware stays open."""
        if self._active:
            self._active = False
            self._middleware.unsubscribe(self._input)
        self.monitor.stop()
        self._stopping.set()
        if self._diagnostics.is_alive():
            self._diagnostics.join()
        self._overlays.close()
        if self._black_box is not None:
            self._black_box.close()

    def _open_runner(self) -> Runner:
        from ros2_ood_monitor.inference.runner import Runner

        assert self._bundle is not None
        threads = int(self._parameters['threads']) or None
        runner = Runner(
            self._bundle,
            str(self._parameters['backend']),
            threads,
            region_of_interest=self._region_of_interest,
            second_look_every=int(self._parameters['second_look_every']),
        )
        self._engine = runner.description
        return runner

    def _now(self) -> Stamp:
        return Stamp.from_ns(self._stamp_clock.now_ns())

    def _publish(self, output: MonitorOutput) -> None:
        if output.frame is None or output.detection is None:
            self._alert = output.alert
            try:
                self._send(alert_messages(output.alert, self._now()))
            except Exception:
                # Silence would be no better; the heartbeat logs why.
                self._send(fallback_messages(output.alert.seq, self._now()))
                raise
        else:
            self._send(result_messages(output.frame.header, output.detection))
        if output.frame is not None:
            self._overlays.post(output, self._stamp_clock.now_ns())
        elif self._black_box is not None:
            self._black_box.watch(output.alert)

    def _send(self, messages: Iterable[tuple[topics.Topic, object]]) -> None:
        for topic, message in messages:
            self._middleware.publish(topic, message)
            if self._black_box is not None and topic in _IN_BLACK_BOX:
                self._black_box.record(topic, message, self._stamp_clock.now_ns())

    def _publish_diagnostics(self) -> None:
        while not self._stopping.wait(DIAGNOSTICS_PERIOD_S):
            self._diagnose()

    def _diagnose(self) -> None:
        try:
            self._publish_status()
        except Exception:
            _LOG.exception('the diagnostics were not published')

    def _publish_status(self) -> None:
        assert self._alert is not None
        statistics = self.monitor.statistics()
        publishers = self._middleware.publisher_count(self._input)
        certified = self._bundle.certified if self._bundle else None
        facts = {
            'bundle': self._bundle.name if self._bundle else '',
            'calibration': CALIBRATIONS[certified],
            'engine': self._engine,
            'image_topic': self._input.name,
            'image_publishers': str(publishers),
            'overlays_dropped': str(self._overlays.dropped),
        }
        self._middleware.publish(
            topics.DIAGNOSTICS, diagnostics_message(self._alert, statistics, facts, self._now())
        )
        if self._active and statistics.received_hz == 0 and self._no_image.ready():
            _LOG.warning(
                'no image on %s (%d publishers); check the topic, the domain, that the message '
                'type is %s and, for large images, docs/ros_verification.md',
                self._input.name,
                publishers,
                self._input.type_name,
            )


_IN_BLACK_BOX = frozenset((topics.ALERT, topics.SCORE, topics.REGIONS))


def _open_black_box(parameters: Mapping[str, Value]) -> BlackBox | None:
    directory = str(parameters['black_box.directory'])
    if not directory:
        return None
    megabyte = 1_000_000
    return BlackBox(
        Path(directory).expanduser(),
        float(parameters['black_box.seconds']),
        int(parameters['black_box.ring_mb']) * megabyte,
        int(parameters['black_box.quota_mb']) * megabyte,
    )


def run_monitor(
    middleware: Middleware,
    bundle: ModelBundle,
    parameters: Mapping[str, Value],
    stop: threading.Event,
) -> str | None:
    """Run a monitor until `stop` is set; return why it had to give up, None if it did not.

    Raises NodeError or ParameterError, after an alert that says so, as `MonitorNode.load` does.
    """
    node = MonitorNode(middleware, parameters)
    node.start()
    try:
        try:
            node.load(bundle)
        except (NodeError, ParameterError) as error:
            node.monitor.fault(str(error))
            raise
        node.activate()
        while not stop.wait(0.5):
            if node.monitor.failed:
                return node.monitor.failed
        return None
    finally:
        node.stop()
