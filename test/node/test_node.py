"""The node on a bus in memory: what is published when; the test says what the detector says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from support.channels import channel_scores, some_channel

from ros2_ood_monitor.alert import Alert, State
from ros2_ood_monitor.bundle.manifest import Alarm, Regions, SemanticClass
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Header, RawImage, Stamp
from ros2_ood_monitor.messages import topics
from ros2_ood_monitor.messages.conversions import alerts_from_message, jpeg_message
from ros2_ood_monitor.messages.types import Bool
from ros2_ood_monitor.node import monitor_node as node_module
from ros2_ood_monitor.node.monitor_node import MonitorNode, NodeError, run_monitor
from ros2_ood_monitor.parameter import ParameterError, Value
from ros2_ood_monitor.parameters import PARAMETERS

PATIENCE_S = 10.0


class Bus:
    """Implements `Middleware` within the process and remembers what was published."""

    def __init__(self) -> None:
        self.published: list[tuple[topics.Topic, Any]] = []
        self.advertised: set[topics.Topic] = set()
        self.callbacks: dict[topics.Topic, Callable[[Any], None]] = {}
        self.listeners: dict[topics.Topic, int] = {}
        self._changed = threading.Condition()

    def advertise(self, topic: topics.Topic) -> None:
        self.advertised.add(topic)

    def publish(self, topic: topics.Topic, message: object) -> None:
        assert topic in self.advertised, topic.name
        with self._changed:
            self.published.append((topic, message))
            self._changed.notify_all()

    def subscribe(self, topic: topics.Topic, callback: Callable[[Any], None]) -> None:
        self.callbacks[topic] = callback

    def unsubscribe(self, topic: topics.Topic) -> None:
        del self.callbacks[topic]

    def subscriber_count(self, topic: topics.Topic) -> int:
        return self.listeners.get(topic, 0)

    def publisher_count(self, topic: topics.Topic) -> int:
        return 1

    def close(self) -> None:
        pass

    def messages(self, topic: topics.Topic) -> list[Any]:
        with self._changed:
            return [message for published, message in self.published if published == topic]

    def alerts(self) -> list[Alert]:
        return [alert for m in self.messages(topics.ALERT) for alert in alerts_from_message(m)]

    def wait(self, condition: Callable[[], Any]) -> Any:
        with self._changed:
            result = self._changed.wait_for(condition, PATIENCE_S)
        assert result, 'waited in vain'
        return result


class FakeRunner:
    """Scores every frame with the score that the test asks for."""

    description = 'fake engine 1.0'
    score = 0.0
    opened: tuple[Any, ...] = ()

    region_of_interest: Any = None

    def __init__(
        self,
        bundle: Any,
        backend: str,
        threads: int | None,
        region_of_interest: Any,
        second_look_every: int,
    ) -> None:
        self.bundle = bundle
        type(self).region_of_interest = region_of_interest
        type(self).opened = (backend, threads, second_look_every)

    def self_test(self) -> None:
        pass

    def close(self) -> None:
        pass

    def infer(self, frame: Any) -> Detection:
        return Detection(
            np.zeros((3, 4), np.uint8),
            np.zeros((3, 4), np.float32),
            channel_scores(type(self).score),
            timings={'inference': 1.0},
        )


BUNDLE: Any = SimpleNamespace(
    expects_color=True,
    name='test_bundle',
    map_size=(12, 16),
    certified=False,
    classes=(SemanticClass('sky', (1, 2, 3)), SemanticClass('road', (4, 5, 6))),
    regions=Regions(0.5, 10),
    channels={'object': some_channel(Alarm(1.0, 4.0), 30.0)},
)
CERTIFIED: Any = SimpleNamespace(
    **{
        **vars(BUNDLE),
        'certified': True,
        'channels': {'object': some_channel(Alarm(1.0, 4.0), 30.0, sequences=5)},
    }
)


def parameters(**changes: Value) -> dict[str, Value]:
    values = {name: parameter.default for name, parameter in PARAMETERS.items()}
    return {**values, **{name.replace('__', '.'): value for name, value in changes.items()}}


@pytest.fixture(autouse=True)
def fake_runner(monkeypatch):
    monkeypatch.setattr('ros2_ood_monitor.inference.runner.Runner', FakeRunner)
    monkeypatch.setattr(FakeRunner, 'score', 0.0)
    monkeypatch.setattr(node_module, 'DIAGNOSTICS_PERIOD_S', 0.05)


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def start(bus):
    nodes = []

    def start_node(**changes: Value) -> MonitorNode:
        node = MonitorNode(bus, parameters(**changes))
        nodes.append(node)
        node.start()
        return node

    yield start_node
    for node in nodes:
        node.stop()


_RNG = np.random.default_rng(1)


def image() -> RawImage:
    data = _RNG.integers(0, 255, 48 * 64 * 3, dtype=np.uint8)
    return RawImage(Header(Stamp.from_ns(time.time_ns()), 'cam'), 48, 64, 'rgb8', 0, 64 * 3, data)


class Camera:
    """Sends an image every 10 ms to whoever listens on the bus."""

    def __init__(self, bus: Bus, topic: topics.Topic = topics.camera_input()) -> None:  # noqa: B008
        self._bus, self._topic = bus, topic
        self._stop = threading.Event()
        self.sent: list[Header] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            callback = self._bus.callbacks.get(self._topic)
            if callback is not None:
                message: Any = image()
                if self._topic.type_name == topics.COMPRESSED_IMAGE:
                    shown = message.data.reshape(48, 64, 3)
                    message = jpeg_message(message.header, shown, 90)
                self.sent.append(message.header)
                callback(message)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_the_first_word_is_unsafe_and_everything_is_advertised(bus, start):
    start()
    assert bus.advertised == set(topics.PUBLISHED)
    assert bus.alerts()[0].state == State.INITIALIZING
    assert bus.messages(topics.UNSAFE)[0] == Bool(True)


def test_heartbeats_come_without_bundle_and_camera(bus, start):
    start()
    bus.wait(lambda: len(bus.alerts()) >= 5)
    assert [alert.seq for alert in bus.alerts()] == list(range(len(bus.alerts())))
    assert all(alert.state.unsafe for alert in bus.alerts())


def test_an_alert_that_cannot_be_sent_is_replaced_by_a_fault(bus, start, monkeypatch):
    def refuse(*_):
        raise UnicodeEncodeError('utf-8', '\ud800', 0, 1, 'surrogates not allowed')

    start()
    bus.wait(lambda: len(bus.alerts()) >= 2)
    monkeypatch.setattr('ros2_ood_monitor.node.monitor_node.alert_messages', refuse)
    before = len(bus.alerts())
    bus.wait(lambda: len(bus.alerts()) >= before + 4)
    for alert in bus.alerts()[before + 1 :]:
        assert (alert.state, alert.causes[0].code) == (State.FAULT, 'unpublishable')
    assert bus.messages(topics.UNSAFE)[-1] == Bool(True)


def test_activation_needs_a_bundle(start):
    with pytest.raises(NodeError, match='load a model bundle'):
        start().activate()


def test_an_uncertified_bundle_is_announced_and_refused_on_request(bus, start, caplog):
    node = start()
    node.load(BUNDLE)
    node.activate()
    assert 'test_bundle is UNCERTIFIED' in caplog.text
    assert 'channel object was calibrated on 4 of the 5 sequences' in caplog.text
    with Camera(bus):
        bus.wait(lambda: bus.alerts()[-1].certified is False)
    with pytest.raises(NodeError, match=r"require_certified.*run 'ood-monitor calibrate'"):
        start(require_certified=True).load(BUNDLE)


def test_a_certified_bundle_is_taken_where_one_is_required(bus, start, caplog):
    node = start(require_certified=True)
    node.load(CERTIFIED)
    node.activate()
    with Camera(bus):
        bus.wait(lambda: bus.alerts()[-1].certified)
        seen = len(bus.messages(topics.DIAGNOSTICS))
        bus.wait(lambda: len(bus.messages(topics.DIAGNOSTICS)) >= seen + 2)
    status = bus.messages(topics.DIAGNOSTICS)[-1].status[0]
    assert ('calibration', 'certified') in [(item.key, item.value) for item in status.values]
    assert 'UNCERTIFIED' not in caplog.text


def test_a_refused_bundle_is_the_last_word_of_a_run(bus):
    with pytest.raises(NodeError, match='UNCERTIFIED'):
        run_monitor(bus, BUNDLE, parameters(require_certified=True), threading.Event())
    last = bus.alerts()[-1]
    assert last.state == State.FAULT
    assert {cause.code for cause in last.causes} >= {'setup_failed', 'stopped'}
    assert 'UNCERTIFIED' in last.message


def test_the_region_of_interest_reaches_the_engines_or_is_refused(bus, start):
    node = start(region_of_interest__horizon=0.5)
    node.load(BUNDLE)
    node.activate()
    with Camera(bus):
        bus.wait(lambda: bus.messages(topics.SEGMENTATION))
    assert FakeRunner.region_of_interest.mean() == 0.5
    refused = parameters(region_of_interest__horizon=1.0)
    with pytest.raises(ParameterError, match='leaves 0 pixels'):
        run_monitor(bus, BUNDLE, refused, threading.Event())
    assert 'leaves 0 pixels' in bus.alerts()[-1].message


def test_a_camera_makes_the_view_nominal_with_results_that_carry_its_header(bus, start):
    node = start(backend='onnxruntime', threads=2, second_look_every=1)
    node.load(BUNDLE)
    (info,) = bus.messages(topics.LABEL_INFO)
    assert [entry.class_name for entry in info.class_map] == ['sky', 'road', 'unlabeled']
    node.activate()
    with Camera(bus) as camera:
        bus.wait(lambda: bus.alerts()[-1].state == State.NOMINAL)
        bus.wait(lambda: bus.messages(topics.ANOMALY_MAP))
        assert bus.messages(topics.UNSAFE)[-1] == Bool(False)
    for topic in (topics.SEGMENTATION, topics.ANOMALY_MAP, topics.REGIONS):
        assert bus.messages(topic)
        assert all(message.header in camera.sent for message in bus.messages(topic))
    assert len(bus.messages(topics.SCORE)) == len(bus.messages(topics.SEGMENTATION))
    assert FakeRunner.opened == ('onnxruntime', 2, 1)


def test_an_unknown_view_is_alerted_and_boxed(bus, start, tmp_path):
    node = start(black_box__directory=str(tmp_path), black_box__seconds=5.0)
    node.load(BUNDLE)
    node.activate()
    with Camera(bus):
        bus.wait(lambda: bus.alerts()[-1].state == State.NOMINAL)
        FakeRunner.score = 5.0
        bus.wait(lambda: bus.alerts()[-1].state == State.ALERT)
        node.stop()
    (bag,) = tmp_path.glob('camera_*.mcap')
    with bag.open('rb') as stream:
        recorded = {channel.topic for _, channel, _ in make_reader(stream).iter_messages()}
    assert recorded >= {'/ood/alert', '/ood/score', '/image/compressed'}


def test_a_dead_camera_is_a_fault_and_deactivation_is_not_silent(bus, start):
    node = start()
    node.load(BUNDLE)
    node.activate()
    with Camera(bus):
        bus.wait(lambda: bus.alerts()[-1].state == State.NOMINAL)
    bus.wait(lambda: 'stale' in [cause.code for cause in bus.alerts()[-1].causes])
    node.deactivate()
    assert not bus.callbacks
    bus.wait(lambda: 'inactive' in [cause.code for cause in bus.alerts()[-1].causes])
    count = len(bus.alerts())
    bus.wait(lambda: len(bus.alerts()) > count + 2)


def test_the_last_word_is_that_the_monitor_stopped(bus, start):
    node = start()
    node.stop()
    node.stop()
    assert 'stopped' in [cause.code for cause in bus.alerts()[-1].causes]
    assert bus.messages(topics.UNSAFE)[-1] == Bool(True)
    assert not {'images', 'diagnostics', 'heartbeat', 'engines'} & {
        thread.name for thread in threading.enumerate()
    }


def test_compressed_images_are_taken_from_their_own_topic(bus, start):
    node = start(camera__image_topic='cam/image', camera__image_transport='compressed')
    node.load(BUNDLE)
    node.activate()
    topic = topics.camera_input('cam/image/compressed', compressed=True)
    with Camera(bus, topic):
        bus.wait(lambda: bus.messages(topics.SEGMENTATION))


def test_diagnostics_name_engine_bundle_and_topic(bus, start):
    node = start()
    node.load(BUNDLE)
    node.activate()
    with Camera(bus):
        bus.wait(lambda: bus.messages(topics.SEGMENTATION))
        seen = len(bus.messages(topics.DIAGNOSTICS))
        bus.wait(lambda: len(bus.messages(topics.DIAGNOSTICS)) >= seen + 2)
    status = bus.messages(topics.DIAGNOSTICS)[-1].status[0]
    values = {item.key: item.value for item in status.values}
    assert values['engine'] == 'fake engine 1.0'
    assert (values['bundle'], values['calibration']) == ('test_bundle', 'uncertified')
    assert (values['image_topic'], values['image_publishers']) == ('image', '1')
    assert int(values['judged']) > 0
    assert float(values['total_ms_p95']) > 0


def test_a_missing_image_is_explained_in_the_log(bus, start, caplog):
    node = start()
    node.load(BUNDLE)
    node.activate()
    bus.wait(lambda: len(bus.messages(topics.DIAGNOSTICS)) >= 2)
    assert 'no image on image (1 publishers)' in caplog.text


def test_images_are_drawn_only_while_someone_looks(bus, start, monkeypatch):
    drawn = []

    def draw(image: Any, detection: Any, alert: Any, palette: Any) -> Any:
        drawn.append(list(palette))
        return image

    monkeypatch.setitem(
        __import__('sys').modules, 'ros2_ood_monitor.pages.overlay', SimpleNamespace(draw=draw)
    )
    node = start()
    node.load(BUNDLE)
    node.activate()
    with Camera(bus):
        bus.wait(lambda: len(bus.messages(topics.SEGMENTATION)) >= 5)
        assert not drawn
        bus.listeners[topics.OVERLAY_COMPRESSED] = 1
        bus.wait(lambda: bus.messages(topics.OVERLAY_COMPRESSED))
        assert not bus.messages(topics.OVERLAY)
        bus.listeners[topics.OVERLAY] = 1
        bus.wait(lambda: bus.messages(topics.OVERLAY))
    assert drawn[0] == [(1, 2, 3), (4, 5, 6)]


def test_parameters_change_while_running(bus, start):
    node = start()
    node.load(BUNDLE)
    node.activate()
    node.configure({'supervision.stale_after_s': 60.0})
    with Camera(bus):
        bus.wait(lambda: bus.alerts()[-1].state == State.NOMINAL)
    count = len(bus.alerts())
    bus.wait(lambda: len(bus.alerts()) >= count + 8)  # 0.8 s, twice the default limit
    assert bus.alerts()[-1].state == State.NOMINAL


def test_running_ends_on_request_and_reports_why_it_gave_up(bus, monkeypatch):
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert run_monitor(bus, BUNDLE, parameters(), stop) is None
    assert 'stopped' in [cause.code for cause in bus.alerts()[-1].causes]

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError('no such engine')

    monkeypatch.setattr(FakeRunner, '__init__', broken)
    changes = {'supervision__restart_attempts': 1, 'supervision__restart_backoff_s': 0.0}
    reason = run_monitor(bus, BUNDLE, parameters(**changes), threading.Event())
    assert 'no such engine' in str(reason)
    assert bus.alerts()[-1].state == State.FAULT
