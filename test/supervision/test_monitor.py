"""Faults injected into a running monitor: real threads, a runner that breaks on command."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from support.channels import channel_scores, some_channel

from ros2_ood_monitor.alert import Alert, State
from ros2_ood_monitor.bundle.manifest import Alarm
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Header, RawImage, Stamp
from ros2_ood_monitor.inference.runner import RunnerError, SelfTestError
from ros2_ood_monitor.supervision.config import SupervisionConfig
from ros2_ood_monitor.supervision.heartbeat import MonitorOutput
from ros2_ood_monitor.supervision.mailbox import Mailbox
from ros2_ood_monitor.supervision.monitor import Monitor, MonitorError

SOON = 5.0
"""Seconds after which a test gives up; everything below normally takes a fraction."""

FAST = SupervisionConfig(
    release_frames=1, release_s=0.0, restart_backoff_s=0.01, stale_after_s=0.3, max_age_ms=150.0
)
HEIGHT, WIDTH = 24, 32


class BreakableRunner:
    """Scores every frame 0.2 until `behave` is replaced."""

    def __init__(self) -> None:
        channels = {'object': some_channel(Alarm(1.0, 5.0))}
        self.bundle = SimpleNamespace(channels=channels, expects_color=True)
        self.behave = lambda frame: 0.2
        self.threads: set[int] = set()
        self.opened = 0
        self.closed = 0
        self.self_test = lambda: None

    def open(self) -> BreakableRunner:
        self.opened += 1
        self.threads.add(threading.get_ident())
        return self

    def infer(self, frame) -> Detection:
        self.threads.add(threading.get_ident())
        score = self.behave(frame)
        return Detection(
            np.zeros((HEIGHT, WIDTH), np.uint8),
            np.zeros((HEIGHT, WIDTH), np.float32),
            channel_scores(score),
            timings={'inference': 1.0},
        )

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


class Rig:
    """A monitor, a camera and a consumer of everything that is published."""

    def __init__(self, config: SupervisionConfig = FAST, **options) -> None:
        self.runner = options.pop('runner', None) or BreakableRunner()
        self.outputs: list[tuple[float, MonitorOutput]] = []
        self.heard = threading.Condition()
        self.random = np.random.default_rng(0)
        self.streaming: threading.Event | None = None
        self.monitor = Monitor(
            'front', options.pop('open_runner', self.runner.open), config, self.publish
        )

    def __enter__(self) -> Rig:
        self.monitor.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop_camera()
        self.monitor.stop()

    def publish(self, output: MonitorOutput) -> None:
        with self.heard:
            self.outputs.append((time.monotonic(), output))
            self.heard.notify_all()

    def image(self, stamp_ns: int | None = None, **changes) -> RawImage:
        stamp = Stamp.from_ns(time.time_ns() if stamp_ns is None else stamp_ns)
        data = self.random.integers(0, 255, HEIGHT * WIDTH * 3, np.uint8)
        values = {
            'header': Header(stamp, 'lens'),
            'height': HEIGHT,
            'width': WIDTH,
            'encoding': 'rgb8',
            'is_bigendian': 0,
            'step': WIDTH * 3,
            'data': data,
            **changes,
        }
        return RawImage(**values)

    def stream(self, make=None) -> None:
        """Let the camera send at 50 Hz until `stop_camera`."""
        self.stop_camera()
        streaming = self.streaming = threading.Event()
        make = make or self.image

        def run() -> None:
            while not streaming.wait(0.02):
                self.monitor.submit(make())

        self.camera = threading.Thread(target=run, daemon=True)
        self.camera.start()

    def stop_camera(self) -> None:
        if self.streaming:
            self.streaming.set()
            self.camera.join()
            self.streaming = None

    @property
    def alerts(self) -> list[Alert]:
        return [output.alert for _, output in self.outputs if output.frame is None]

    def wait(self, condition) -> Alert:
        """Wait for an alert from now on that meets `condition` and return it."""
        with self.heard:
            seen = len(self.outputs)

            def found() -> Alert | None:
                news = [output.alert for _, output in self.outputs[seen:]]
                return next((alert for alert in news if condition(alert)), None)

            assert self.heard.wait_for(found, SOON), f'still {self.alerts[-1]}'
            return found()

    def wait_for(self, state: State, code: str = '') -> Alert:
        return self.wait(
            lambda alert: (
                alert.state == state
                and (not code or code in [cause.code for cause in alert.causes])
            )
        )

    def nominal(self) -> Rig:
        self.stream()
        self.wait_for(State.NOMINAL)
        return self


def test_the_first_alert_is_out_before_start_returns_and_is_unsafe():
    rig = Rig()
    rig.monitor.start(active=False)
    assert rig.alerts[0].state == State.INITIALIZING
    rig.monitor.stop()


def test_the_heartbeat_beats_in_every_phase_without_gaps_until_the_end():
    blocker = threading.Event()
    runner = BreakableRunner()
    runner.self_test = blocker.wait
    rig = Rig(runner=runner)
    begin = time.monotonic()
    rig.monitor.start(active=False)
    for _ in range(3):
        rig.wait_for(State.INITIALIZING, 'inactive')
    rig.monitor.activate()
    for _ in range(3):
        rig.wait_for(State.INITIALIZING, 'loading')
    blocker.set()
    rig.nominal()
    rig.monitor.deactivate()
    rig.wait_for(State.INITIALIZING, 'inactive')
    rig.stop_camera()
    rig.monitor.stop()
    rig.monitor.stop()
    assert rig.alerts[-1].state == State.FAULT
    assert rig.alerts[-1].causes[0].code == 'stopped'
    assert [alert.seq for alert in rig.alerts] == list(range(len(rig.alerts)))
    times = [begin] + [at for at, output in rig.outputs if output.frame is None]
    assert max(np.diff(times)) < 0.4  # 0.1 is promised; the rest is for a busy machine
    assert runner.closed == 1


def test_results_carry_the_header_unchanged_and_follow_their_alert():
    with Rig() as rig:
        rig.nominal()
        rig.wait_for(State.NOMINAL)
    results = [output for _, output in rig.outputs if output.frame is not None]
    assert results
    published = {alert.seq: alert for alert in rig.alerts}
    for output in results:
        assert output.header.frame_id == 'lens'
        assert output.alert is published[output.alert.seq]
        assert output.alert.source == output.header
        assert output.detection.timings.keys() == {'check', 'inference'}


def test_the_detector_belongs_to_one_thread():
    with Rig() as rig:
        rig.nominal()
    assert len(rig.runner.threads) == 1
    assert threading.get_ident() not in rig.runner.threads


def test_an_engine_that_raises_is_a_fault_and_forgiven_when_it_works_again():
    with Rig() as rig:
        rig.nominal()
        failing = iter([True])

        def once(frame):
            if next(failing, False):
                raise RunnerError('the energy map holds 3 NaN')
            return 0.2

        rig.runner.behave = once
        alert = rig.wait_for(State.FAULT, 'engine_failed')
        assert '3 NaN' in alert.message
        rig.wait_for(State.NOMINAL)
        assert rig.runner.opened == 1


@pytest.mark.parametrize('death', [RuntimeError('CUDA error 700'), SystemExit('bye')])
def test_an_engine_that_keeps_failing_is_reopened_and_stays_in_fault_meanwhile(death):
    with Rig() as rig:
        rig.nominal()

        def die(frame):
            if rig.runner.opened == 1:
                raise death
            return 0.2

        rig.runner.behave = die
        rig.wait_for(State.FAULT, 'engine_failed')
        rig.wait_for(State.NOMINAL)
        assert (rig.runner.opened, rig.runner.closed) == (2, 1)
    states = [alert.state for alert in rig.alerts]
    after = states[states.index(State.FAULT) :]
    assert after[: after.index(State.NOMINAL)] == [State.FAULT] * after.index(State.NOMINAL)


def test_an_engine_that_cannot_be_opened_is_tried_a_bounded_number_of_times():
    tried = []

    def open_runner():
        tried.append(1)
        raise OSError('no such device')

    config = SupervisionConfig(restart_attempts=2, restart_backoff_s=0.01)
    with Rig(config, open_runner=open_runner) as rig:
        rig.stream()
        rig.wait_for(State.FAULT, 'engine_failed')
        rig.wait(lambda _: rig.monitor.failed is not None)
        assert len(tried) == 3
        assert 'no such device; given up after 2 restarts' in rig.monitor.failed
        # The heartbeat outlives the engines.
        alert = rig.wait_for(State.FAULT, 'engine_failed')
        assert 'no such device' in alert.message


def test_a_failed_self_test_is_a_fault_of_its_own():
    runner = BreakableRunner()

    def fail():
        raise SelfTestError('frame normal.png scores 3, the bundle states 1')

    runner.self_test = fail
    with Rig(runner=runner) as rig:
        rig.stream()
        assert 'normal.png' in rig.wait_for(State.FAULT, 'self_test_failed').message
        rig.wait(lambda _: rig.monitor.failed is not None)
    assert runner.opened == runner.closed == 4


def test_an_engine_that_hangs_is_reported_while_it_hangs():
    release = threading.Event()
    with Rig() as rig:
        rig.nominal()

        def hang(frame):
            release.wait(SOON)
            return 0.2

        begin = time.monotonic()
        rig.runner.behave = hang
        alert = rig.wait_for(State.FAULT, 'too_slow')
        assert time.monotonic() - begin < 0.8  # 0.15 s, a watchdog period, a busy machine
        first = alert.seq
        alert = rig.wait(lambda alert: alert.seq >= first + 3)
        assert alert.state == State.FAULT
        release.set()
        rig.runner.behave = lambda frame: 0.2
        rig.wait_for(State.NOMINAL)


def test_a_hanging_engine_does_not_keep_the_monitor_from_stopping(monkeypatch):
    monkeypatch.setattr('ros2_ood_monitor.supervision.monitor.STOP_TIMEOUT_S', 0.05)
    release = threading.Event()
    rig = Rig()
    rig.monitor.start()
    rig.nominal()
    rig.runner.behave = lambda frame: release.wait(SOON) and 0.2
    rig.wait_for(State.FAULT, 'too_slow')
    rig.monitor.deactivate()
    assert rig.alerts[-1].state == State.INITIALIZING
    with pytest.raises(MonitorError, match='restart the process'):
        rig.monitor.activate()
    release.set()
    for _ in range(3):  # the late result changes nothing
        rig.wait_for(State.INITIALIZING, 'inactive')
    rig.stop_camera()
    rig.monitor.stop()
    assert rig.alerts[-1].state == State.FAULT


@pytest.mark.parametrize('score', [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_fault_and_gives_no_result(score):
    with Rig() as rig:
        rig.nominal()
        rig.runner.behave = lambda frame: score
        rig.wait_for(State.FAULT, 'not_finite')
        rig.wait_for(State.FAULT, 'not_finite')
    assert all(math.isfinite(o.detection.score) for _, o in rig.outputs if o.detection)


def test_high_scores_raise_the_alert():
    with Rig() as rig:
        rig.nominal()
        rig.runner.behave = lambda frame: 3.0
        alert = rig.wait_for(State.ALERT, 'unknown_view')
        assert alert.evidence >= alert.threshold == 5.0
        rig.runner.behave = lambda frame: 0.0
        rig.wait_for(State.NOMINAL)


def test_a_camera_that_dies_is_a_fault_and_welcome_back():
    with Rig() as rig:
        rig.nominal()
        rig.stop_camera()
        begin = time.monotonic()
        rig.wait_for(State.FAULT, 'stale')
        assert time.monotonic() - begin < 0.9
        rig.nominal()


def test_a_camera_that_never_comes_is_a_fault():
    with Rig(SupervisionConfig(startup_timeout_s=0.1)) as rig:
        rig.wait_for(State.FAULT, 'no_image')


FROZEN = np.random.default_rng(1).integers(0, 255, HEIGHT * WIDTH * 3, np.uint8)


@pytest.mark.parametrize(
    ('code', 'changes'),
    [
        ('frozen', {'data': FROZEN}),
        ('black', {'data': np.zeros(HEIGHT * WIDTH * 3, np.uint8)}),
        ('size_changed', {'height': HEIGHT // 2, 'data': FROZEN[: FROZEN.size // 2]}),
        ('data_length', {'data': FROZEN[:-1]}),
        ('encoding', {'encoding': 'mono16'}),
        ('step', {'step': 1}),
        ('zero_size', {'width': 0}),
        ('stamp_zero', {'stamp_ns': 0}),
        ('stamp_back', {'stamp_ns': 10**9}),
        ('stamp_future', {'stamp_ns': 4 * 10**18}),
    ],
)
def test_a_camera_gone_wrong_is_a_fault_with_its_name_and_forgiven(code, changes):
    with Rig() as rig:
        rig.nominal()
        rig.stream(lambda: rig.image(**changes))
        rig.wait_for(State.FAULT, code)
        rig.nominal()
        assert rig.monitor.failed is None
        assert rig.monitor.statistics().refused > 0


def test_the_newest_image_wins_and_the_others_are_counted():
    gate, inside = threading.Event(), threading.Event()
    scored = []
    config = SupervisionConfig(max_age_ms=5000.0, stale_after_s=5.0)
    with Rig(config) as rig:
        rig.wait_for(State.INITIALIZING, 'no_frame_judged')

        def slow(frame):
            scored.append(frame.header.stamp)
            inside.set()
            gate.wait(SOON)
            return 0.2

        rig.runner.behave = slow
        images = [rig.image(time.time_ns() + index) for index in range(5)]
        rig.monitor.submit(images[0])
        assert inside.wait(SOON)
        begin = time.monotonic()
        for image in images[1:]:
            rig.monitor.submit(image)
        assert time.monotonic() - begin < 0.1
        gate.set()
        rig.wait(lambda alert: len(scored) == 2)
        assert scored == [images[0].header.stamp, images[4].header.stamp]
        rig.wait(lambda alert: rig.monitor.statistics().scored == 2)
        statistics = rig.monitor.statistics()
    assert (statistics.received, statistics.dropped, statistics.refused) == (5, 3, 0)
    assert statistics.latency_ms.keys() == {'wait', 'check', 'inference', 'total'}
    p50, p95, p99 = statistics.latency_ms['total']
    assert 0 < p50 <= p95 <= p99


def test_a_consumer_that_raises_does_not_stop_the_monitor():
    rig = Rig()
    broken = threading.Event()
    publish = rig.publish

    def sometimes(output):
        publish(output)
        if broken.is_set():
            raise OSError('network is down')

    rig.monitor._heartbeat._publish = sometimes
    with rig:
        rig.nominal()
        broken.set()
        before = rig.alerts[-1].seq
        rig.wait(lambda alert: alert.seq > before + 10 and alert.state == State.NOMINAL)
        assert rig.runner.opened == 1


def test_a_latched_fault_is_reset_on_request():
    config = SupervisionConfig(release_frames=1, release_s=0.0, latch=True, stale_after_s=0.3)
    with Rig(config) as rig:
        rig.nominal()
        rig.stop_camera()
        rig.wait_for(State.FAULT, 'stale')
        assert not rig.monitor.reset()[0]
        rig.stream()
        rig.wait(lambda alert: alert.latched)
        rig.wait(lambda alert: alert.latched and alert.age_ms < 100)
        assert rig.monitor.reset() == (True, 'reset')
        rig.wait_for(State.NOMINAL)


def test_limits_change_while_running():
    with Rig() as rig:
        rig.nominal()
        rig.monitor.supervisor.configure(SupervisionConfig(min_contrast=255.0))
        rig.wait_for(State.FAULT, 'no_contrast')


def test_a_fault_found_outside_shows_until_an_image_is_scored():
    rig = Rig()
    rig.monitor.start(active=False)
    rig.monitor.fault('the bundle is damaged')
    assert rig.alerts[-1].state == State.FAULT
    assert 'the bundle is damaged' in rig.alerts[-1].message
    rig.monitor.activate()
    rig.nominal()
    rig.__exit__()


def test_many_frames_need_no_more_memory():
    import tracemalloc

    with Rig(SupervisionConfig(check_stamp_age=False)) as rig:
        rig.monitor._heartbeat._publish = lambda output: None
        images = [rig.image(10**18 + index) for index in range(4000)]
        sizes = []
        tracemalloc.start()
        for index, image in enumerate(images):
            rig.monitor.submit(image)
            if index % 50 == 0:
                time.sleep(0.001)
            if index in (1999, 3999):
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 300_000


def test_a_mailbox_hands_over_the_newest_and_never_blocks_the_sender():
    box: Mailbox[int] = Mailbox()
    for item in range(3):
        box.put(item)
    assert box.take() == 2
    box.put(3)
    box.clear()
    assert box.dropped == 3
    taken = []
    taker = threading.Thread(target=lambda: taken.append(box.take()))
    taker.start()
    box.close()
    taker.join(SOON)
    assert taken == [None]
    box.put(4)
    assert box.take() is None
